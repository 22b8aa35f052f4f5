#include "quantize/compared_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>

#include "ops/ops.h"
#include "squint/error.h"

namespace squint::quantize {
namespace {

namespace fs = std::filesystem;
using qwen3_vl::DecoderBlock;
using qwen3_vl::DecoderBlockWeights;
using qwen3_vl::LinearRole;

constexpr std::string_view kVision = "model.visual.";
constexpr std::string_view kEmbedding = "model.language_model.embed_tokens.";
constexpr std::string_view kFinalNorm = "model.language_model.norm.";
constexpr std::string_view kHead = "lm_head.";

constexpr int64_t kPartBytes = int64_t{64} << 20;

std::vector<std::string> names_of(const io::Checkpoint& checkpoint, std::string_view prefix) {
  std::vector<std::string> names = checkpoint.names();
  std::erase_if(names, [&](const std::string& name) { return !name.starts_with(prefix); });
  return names;
}

int64_t bytes_of(const io::Checkpoint& checkpoint, std::string_view prefix) {
  int64_t bytes = 0;
  for (const std::string& name : names_of(checkpoint, prefix)) {
    bytes += checkpoint.find(name)->bytes();
  }
  return bytes;
}

bool same_bytes(const Tensor& a, const Tensor& b, const ComparedModel::OnPart& on_part) {
  if (a.dtype() != b.dtype() || a.shape() != b.shape()) return false;
  if (a.raw() == b.raw()) return true;
  for (int64_t at = 0; at < a.bytes(); at += kPartBytes) {
    on_part();
    const auto part = static_cast<size_t>(std::min(kPartBytes, a.bytes() - at));
    if (std::memcmp(a.raw() + at, b.raw() + at, part) != 0) return false;
  }
  return true;
}

// Compares the tensors of two checkpoints whose names begin alike.
struct Pair {
  const io::Checkpoint& a;
  const io::Checkpoint& b;
  const ComparedModel::OnPart& on_part;

  // Whether they are the same, names included.
  bool same(std::string_view prefix) const {
    const std::vector<std::string> names = names_of(a, prefix);
    return names == names_of(b, prefix) && std::ranges::all_of(names, [&](const auto& name) {
             return same_bytes(*a.find(name), *b.find(name), on_part);
           });
  }
};

void round_plainly(Context& cx, QuantizationScheme scheme, LinearWeight& linear) {
  scheme.signed_scales = false;  // as others round
  Tensor weight = std::get<Tensor>(linear.weight);
  if (weight.dtype() != DType::bf16) weight = round_to_bf16(to_f32(weight));
  const QuantizedWeight rounded =
      QuantizedWeight::on_host(linear.out_features, linear.in_features, scheme);
  ops::quantize_weight(cx, weight, scheme, Observer::minmax, rounded);
  linear.weight = pack_linear(rounded, scheme);
}

}  // namespace

ComparedModel::Files::Files(const fs::path& folder)
    : checkpoint(io::Checkpoint::open(folder)),
      config(qwen3_vl::parse_config(checkpoint.config(), (folder / io::kConfigFileName).string())),
      weights(checkpoint) {}

ComparedModel::ComparedModel(const fs::path& folder)
    : name_(folder.string()), files_(std::make_shared<Files>(folder)) {
  for (int64_t layer = 0; layer < config().text.layers; ++layer) {
    DecoderBlockWeights::expect(weights(), config().text, layer);
  }
}

ComparedModel::ComparedModel(const ComparedModel& base, ModuleSchemes rounding, std::string name)
    : name_(std::move(name)), files_(base.files_), rounding_(std::move(rounding)) {
  if (weights().quantization()) {
    throw Error(
        ErrorCode::bad_input,
        fmt::format("{}: already quantized, so it cannot be rounded for comparison", base.name()));
  }
  for (int64_t layer = 0; layer < config().text.layers; ++layer) {
    for (const LinearRole role : qwen3_vl::kAllLinears) {
      const auto& scheme = rounding_[static_cast<size_t>(layer)][role];
      const int64_t columns =
          checkpoint().get(qwen3_vl::module_name(layer, role) + ".weight").dim(1);
      if (!scheme || scheme->divides(columns)) continue;
      throw Error(ErrorCode::bad_input,
                  fmt::format("{}: groups of {} do not divide the {} columns of {}", base.name(),
                              scheme->group_size, columns, qwen3_vl::short_name(role)));
    }
  }
}

DecoderBlock ComparedModel::block(Context& cx, int64_t layer) const {
  DecoderBlockWeights stored = DecoderBlockWeights::load(weights(), config().text, layer);
  if (!rounding_.empty()) {
    for (const LinearRole role : qwen3_vl::kAllLinears) {
      const auto& scheme = rounding_[static_cast<size_t>(layer)][role];
      if (scheme) round_plainly(cx, *scheme, stored[role]);
    }
  }
  return DecoderBlock(stored, config().text, layer, cx.backend);
}

void ComparedModel::expect_kin(const ComparedModel& other) const {
  const auto shape = [](const qwen3_vl::Config& c) {
    return fmt::format(
        "{} layers of {}, a vocabulary of {}, patches of {}x{}x{} merged by {}, image token {}",
        c.text.layers, c.text.hidden, c.text.vocab, c.vision.temporal_patch_size,
        c.vision.patch_size, c.vision.patch_size, c.vision.merge_size, c.image_token_id);
  };
  const std::string expected = shape(config());
  const std::string found = shape(other.config());
  if (expected == found) return;
  throw Error(ErrorCode::bad_input,
              fmt::format("{}: expected {}, as {} has, found {}: only a model and what was made "
                          "from it can be compared",
                          other.name(), expected, name(), found));
}

bool ComparedModel::same_inputs(const ComparedModel& other, const OnPart& on_part) const {
  const Pair tensors{checkpoint(), other.checkpoint(), on_part};
  return config().text == other.config().text && config().vision == other.config().vision &&
         tensors.same(kEmbedding) && tensors.same(kVision);
}

bool ComparedModel::same_head(const ComparedModel& other, const OnPart& on_part) const {
  const Pair tensors{checkpoint(), other.checkpoint(), on_part};
  const bool tied = bytes_of(checkpoint(), kHead) == 0;
  return config().text == other.config().text && tensors.same(kFinalNorm) && tensors.same(kHead) &&
         (!tied || tensors.same(kEmbedding));
}

int64_t ComparedModel::vision_bytes() const { return bytes_of(checkpoint(), kVision); }

int64_t ComparedModel::block_bytes() const {
  int64_t largest = 0;
  for (int64_t layer = 0; layer < config().text.layers; ++layer) {
    largest = std::max(
        largest, bytes_of(checkpoint(), fmt::format("model.language_model.layers.{}.", layer)));
  }
  return largest;
}

int64_t ComparedModel::head_bytes() const {
  const int64_t own = bytes_of(checkpoint(), kHead);
  return own > 0 ? own : bytes_of(checkpoint(), kEmbedding);
}

}  // namespace squint::quantize
