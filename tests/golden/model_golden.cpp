#include "golden/model_golden.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "io/safetensors.h"
#include "models/qwen3_vl/model.h"
#include "ops/copies.h"
#include "support/paths.h"

namespace squint::test {
namespace {

using qwen3_vl::Model;
using qwen3_vl::ModelInput;

// Keeps a copy of everything shown. Values of several images follow one another.
class Recorder : public Trace {
 public:
  explicit Recorder(Context& cx) : cx_(cx) {}

  void saw(std::string_view name, int64_t index, const Tensor& value) override {
    const bool numbered = name == "vision.block" || name == "vision.deepstack" ||
                          name.starts_with("text.attention") || name.starts_with("text.mlp") ||
                          name.starts_with("text.layer");
    auto& to = values_[numbered ? fmt::format("{}.{}", name, index) : std::string(name)];
    const Tensor host = on_host(cx_, value);
    const auto from = host.span<const float>();
    to.insert(to.end(), from.begin(), from.end());
  }
  const std::map<std::string, std::vector<float>>& values() const { return values_; }

 private:
  Context& cx_;
  std::map<std::string, std::vector<float>> values_;
};

class Comparison {
 public:
  explicit Comparison(GoldenResult& result) : result_(result) {}

  void floats(const std::string& name, std::span<const float> ours, std::span<const float> golden) {
    ++result_.compared;
    if (ours.size() != golden.size()) {
      fail(fmt::format("{}: {} values, golden {}", name, ours.size(), golden.size()));
      return;
    }
    double difference = 0;
    double norm = 0;
    for (size_t i = 0; i < ours.size(); ++i) {
      difference += std::pow(static_cast<double>(ours[i]) - golden[i], 2);
      norm += std::pow(static_cast<double>(golden[i]), 2);
    }
    const double error = std::sqrt(difference / norm);
    if (!(error <= result_.worst)) {
      result_.worst = error;
      result_.worst_name = name;
    }
    if (!(error <= kGoldenTolerance)) fail(fmt::format("{}: error {:.3g}", name, error));
  }

  void integers(const std::string& name, std::span<const int64_t> ours, const Tensor& golden) {
    ++result_.compared;
    if (!std::ranges::equal(ours, golden.span<const int32_t>())) {
      fail(fmt::format("{} differs", name));
    }
  }

 private:
  void fail(const std::string& what) { result_.failures.push_back(what); }
  GoldenResult& result_;
};

ModelInput prepare(const Model& model, const GoldenCase& golden) {
  std::vector<qwen3_vl::Patches> images;
  for (const auto& path : golden.images) {
    const std::string bytes = read_text(path);
    images.push_back(model.processor().read_image(std::as_bytes(std::span(bytes)), path.string()));
  }
  return model.processor().prepare(golden.prompt, std::move(images));
}

// Of the last row.
int64_t best(Context& cx, const Tensor& logits) {
  const Tensor last = on_host(cx, logits.rows(logits.dim(0) - 1, 1));
  const auto values = last.span<const float>();
  return std::ranges::max_element(values) - values.begin();
}

void compare_input(const ModelInput& input, const io::SafetensorsFile& file, Comparison& compare) {
  compare.integers("input_ids", std::vector<int64_t>(input.ids.begin(), input.ids.end()),
                   *file.find("input_ids"));
  std::vector<int64_t> positions;
  for (size_t axis = 0; axis < 3; ++axis) {
    for (const auto& p : input.positions.tokens) positions.push_back(p[axis]);
  }
  compare.integers("position_ids", positions, *file.find("position_ids"));
  compare.integers("rope_delta", std::vector<int64_t>{input.positions.delta()},
                   *file.find("rope_delta"));
  if (const Tensor* grids = file.find("image_grid_thw")) {
    std::vector<int64_t> ours;
    std::vector<float> pixels;
    for (const auto& image : input.images) {
      ours.insert(ours.end(), {image.grid.t, image.grid.h, image.grid.w});
      const auto values = image.values.span<const float>();
      pixels.insert(pixels.end(), values.begin(), values.end());
    }
    compare.integers("image_grid_thw", ours, *grids);
    // Carried as the 8-bit values they were made from, or in full.
    const Tensor* golden_pixels = file.find("pixel_values");
    if (golden_pixels != nullptr) {
      compare.floats("pixel_values", pixels, golden_pixels->span<const float>());
    } else {
      std::vector<float> golden;
      for (const uint8_t u : file.find("pixel_values_u8")->span<const uint8_t>()) {
        golden.push_back((static_cast<float>(u) - 127.5f) / 127.5f);
      }
      compare.floats("pixel_values", pixels, golden);
    }
  }
}

}  // namespace

GoldenResult run_golden(const GoldenCase& golden, Backend& backend) {
  GoldenResult result;
  Comparison compare(result);
  const io::SafetensorsFile file(golden.tensors);
  const io::Checkpoint checkpoint = io::Checkpoint::open(golden.model);
  const Model model(checkpoint, backend);
  const ModelInput input = prepare(model, golden);
  compare_input(input, file, compare);

  Arena scratch(backend);
  Context cx{.backend = backend, .scratch = scratch};
  Recorder recorder(cx);
  cx.trace = &recorder;
  const auto features = model.encode_images(cx, input);
  const Tensor* generated = file.find("generated");
  KvCache cache = model.make_cache(cx, input.tokens() + generated->numel());
  const qwen3_vl::Prompt prompt{&input, features, &cache};
  const Tensor logits = model.logits(cx, model.prefill(cx, {&prompt, 1}));
  for (const auto& [name, values] : recorder.values()) {
    const Tensor* expected = file.find(name);
    if (expected != nullptr) compare.floats(name, values, expected->span<const float>());
  }
  cx.trace = nullptr;
  std::vector<int64_t> ids = {best(cx, logits)};
  while (static_cast<int64_t>(ids.size()) < generated->numel()) {
    const Arena::Scope scope(scratch);
    const qwen3_vl::NextToken next{static_cast<int32_t>(ids.back()),
                                   input.positions.next + static_cast<int64_t>(ids.size()) - 1,
                                   &cache};
    ids.push_back(best(cx, model.logits(cx, model.step(cx, {&next, 1}))));
  }
  compare.integers("generated", ids, *generated);
  return result;
}

}  // namespace squint::test
