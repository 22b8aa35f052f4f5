// Whole runs on a checkpoint of two tiny layers: stopping, continuing, refusing. What they make of
// a real model is in pipeline_slow_test.cpp.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "io/checkpoint.h"
#include "io/error_of.h"
#include "io/fingerprint.h"
#include "squint/engine.h"
#include "squint/quantize.h"
#include "support/json.h"
#include "support/paths.h"
#include "support/tiny_checkpoint.h"

namespace squint {
namespace {

namespace fs = std::filesystem;
using test::error_of;
using test::says;

class TinyQuantization : public ::testing::Test {
 protected:
  TinyQuantization() {
    fs::create_directories(dir_.path() / "model");
    fs::copy_file(test::repo_dir() / "tests/data/images/rgb.png", dir_.path() / "a.png");
    test::write_text(
        dir_.path() / "calibration.jsonl",
        R"({"messages": [{"role": "user", "content": [{"type": "image", "image": "a.png"}]}]})"
        "\n"
        R"({"messages": [{"role": "user", "content": "what is written in the image?"}]})"
        "\n");
    files_.write(dir_.path() / "model");
  }

  QuantizeOptions options(const std::string& output) {
    return {.model = dir_.path() / "model",
            .output = dir_.path() / output,
            .calibration = {{dir_.path() / "calibration.jsonl"}},
            .method = QuantizeMethod::awq,
            .on_plan = [this](const QuantizePlan& plan) { plan_ = plan; }};
  }
  void quantize(const QuantizeOptions& options) { quantize_checkpoint(options, *backend_); }
  // Stops when as many steps are missing.
  void interrupt(QuantizeOptions options, int64_t missing) {
    std::stop_source source;
    options.stop = source.get_token();
    options.on_progress = [&](const QuantizeProgress& p) {
      if (p.total - p.done == missing) source.request_stop();
    };
    error_of(ErrorCode::interrupted, [&] { quantize(options); });
  }
  fs::path journal(const std::string& output) const { return dir_.path() / (output + ".journal"); }
  std::string weights(const std::string& output) const {
    return test::read_text(dir_.path() / output / "model.safetensors");
  }

  BackendPtr backend_ = open_backend({.threads = 2});
  test::TinyCheckpoint files_ = test::tiny_checkpoint(5);
  test::TempDir dir_;
  QuantizePlan plan_;
};

TEST_F(TinyQuantization, StoppedWhileItPublishesItIsFinished) {
  std::stop_source source;
  QuantizeOptions o = options("out");
  o.stop = source.get_token();
  QuantizeProgress last;
  o.on_progress = [&](const QuantizeProgress& p) {
    last = p;
    if (p.phase == "writing") source.request_stop();
  };
  quantize(o);
  EXPECT_TRUE(source.stop_requested());
  EXPECT_EQ(last.phase, "writing");
  EXPECT_EQ(last.done, last.total);
  EXPECT_TRUE(fs::exists(o.output / "model.safetensors"));
  EXPECT_FALSE(fs::exists(journal("out")));
}

TEST_F(TinyQuantization, StopsBeforeItReadsAnyRow) {
  std::stop_source source;
  source.request_stop();
  QuantizeOptions o = options("out");
  o.stop = source.get_token();
  bool planned = false;
  o.on_plan = [&](const QuantizePlan&) { planned = true; };
  error_of(ErrorCode::interrupted, [&] { quantize(o); });
  EXPECT_FALSE(planned);
  EXPECT_FALSE(fs::exists(journal("out")));
}

TEST_F(TinyQuantization, AnyDamagedLayerIsDoneAgain) {
  quantize(options("undisturbed"));
  for (const char* name : {"layer-00000.safetensors", "layer-00001.safetensors"}) {
    const std::string output = std::string("out-") + name;
    interrupt(options(output), 1);  // every layer is finished
    const fs::path file = journal(output) / name;
    fs::resize_file(file, fs::file_size(file) / 2);
    quantize(options(output));
    EXPECT_EQ(weights(output), weights("undisturbed")) << name;
  }
}

TEST_F(TinyQuantization, OnlyWhatTheJournalLacksNeedsRoomTwice) {
  interrupt(options("out"), 1);
  EXPECT_GT(plan_.disk_bytes, plan_.output_bytes);
  EXPECT_LT(plan_.disk_bytes, 2 * plan_.output_bytes);
  const int64_t packed = plan_.disk_bytes - plan_.output_bytes;
  quantize(options("out"));
  EXPECT_EQ(plan_.resumed_layers, 2);
  EXPECT_EQ(plan_.disk_bytes, plan_.output_bytes);
  interrupt(options("half"), 6);  // of 13 steps: 2 images, 2 x 5, 1
  quantize(options("half"));
  EXPECT_EQ(plan_.resumed_layers, 1);
  EXPECT_EQ(plan_.disk_bytes, plan_.output_bytes + packed / 2);
}

TEST_F(TinyQuantization, LayersOfOtherPixelsAreNotContinued) {
  interrupt(options("out"), 1);
  files_.patch("preprocessor_config.json", R"({"image_mean": [0.4, 0.5, 0.5]})");
  files_.write(dir_.path() / "model");
  quantize(options("out"));
  EXPECT_EQ(plan_.resumed_layers, 0);
  quantize(options("fresh"));
  EXPECT_EQ(weights("out"), weights("fresh"));
}

TEST_F(TinyQuantization, LayersOfAnotherSampleAreNotContinued) {
  const std::vector<std::function<void(QuantizeOptions&)>> changes = {
      [](QuantizeOptions& o) { o.seed = 3; },
      [](QuantizeOptions& o) { o.rows = 1; },
      [](QuantizeOptions& o) { o.calibration_tokens = 500; },
      [](QuantizeOptions& o) { o.calibration.push_back(o.calibration[0]); },
  };
  for (const auto& change : changes) {
    interrupt(options("out"), 1);
    QuantizeOptions o = options("out");
    change(o);
    quantize(o);
    EXPECT_EQ(plan_.resumed_layers, 0);
    fs::remove_all(o.output);
  }
}

TEST_F(TinyQuantization, AnswersAboutImagesAreAskedOnce) {
  int asked = 0;
  const auto with_images = [&](const std::string& output) {
    QuantizeOptions o = options(output);
    fs::create_directories(dir_.path() / "scans");
    fs::copy_file(dir_.path() / "a.png", dir_.path() / "scans/b.png",
                  fs::copy_options::overwrite_existing);
    o.calibration.push_back({dir_.path() / "scans"});
    o.read_image = [&](const ImageQuestion& question) {
      const fs::path image = question.name;
      const std::string& prompt = question.prompt;
      EXPECT_EQ(image.filename(), "b.png");
      EXPECT_EQ(prompt, kReadingPrompt);
      return "answer " + std::to_string(++asked);
    };
    return o;
  };
  quantize(with_images("undisturbed"));
  EXPECT_EQ(plan_.rows, 3);
  EXPECT_EQ(asked, 1);
  asked = 0;
  interrupt(with_images("out"), 5);
  EXPECT_TRUE(fs::exists(dir_.path() / "out.answers.jsonl"));
  quantize(with_images("out"));
  EXPECT_EQ(asked, 1);
  EXPECT_GT(plan_.resumed_layers, 0);
  EXPECT_EQ(weights("out"), weights("undisturbed"));
  EXPECT_FALSE(fs::exists(dir_.path() / "out.answers.jsonl"));
}

TEST_F(TinyQuantization, SamplesThatCannotBeAreRefused) {
  const auto refuse = [&](ErrorCode code, const std::string& part,
                          const std::function<void(QuantizeOptions&)>& change) {
    QuantizeOptions o = options("out");
    change(o);
    EXPECT_TRUE(says(error_of(code, [&] { quantize(o); }), part));
    EXPECT_FALSE(fs::exists(journal("out")));
  };
  refuse(ErrorCode::usage, "expected a weight above 0",
         [](QuantizeOptions& o) { o.calibration[0].weight = 0; });
  refuse(ErrorCode::usage, "say how many rows",
         [](QuantizeOptions& o) { o.calibration.push_back({.path = "b", .weight = 2}); });
  refuse(ErrorCode::usage, "calibration tokens",
         [](QuantizeOptions& o) { o.calibration_tokens = -1; });
  refuse(ErrorCode::usage, "a model that reads them",
         [this](QuantizeOptions& o) { o.calibration = {{dir_.path() / "a.png"}}; });
  // The first row begins with an image of more tokens.
  refuse(ErrorCode::bad_input, "all 1 calibration rows are empty or begin with an image",
         [](QuantizeOptions& o) { o.rows = 1, o.calibration_tokens = 9; });
}

TEST_F(TinyQuantization, ErrorsThatAreNoNumbersAreRefused) {
  Tensor& weight = files_.tensors.at("model.language_model.layers.1.mlp.up_proj.weight");
  std::ranges::fill(weight.span<bf16>(), to_bf16(1e22f));  // whose squares are infinite
  files_.write(dir_.path() / "model");
  QuantizeOptions o = options("out");
  o.method = QuantizeMethod::rtn;
  o.calibration.clear();
  EXPECT_TRUE(says(error_of(ErrorCode::bad_input, [&] { quantize(o); }),
                   "model.language_model.layers.1.mlp.up_proj: the error of its outputs is not "
                   "finite"));
  EXPECT_FALSE(fs::exists(o.output));
}

TEST_F(TinyQuantization, OutputsThatCannotBeAreNamed) {
  QuantizeOptions o = options("out");
  o.output.clear();
  EXPECT_TRUE(says(error_of(ErrorCode::usage, [&] { quantize(o); }), "found an empty name"));
  o = options(std::string(300, 'x'));
  EXPECT_TRUE(says(error_of(ErrorCode::io, [&] { quantize(o); }), "File name too long"));
  test::write_text(dir_.path() / "file", "");
  o = options("file/out");
  error_of(ErrorCode::io, [&] { quantize(o); });
}

TEST_F(TinyQuantization, TheFolderHoldsItsReport) {
  test::write_text(dir_.path() / "model/report.html", "of the model");
  const QuantizeReport report = quantize_checkpoint(options("out"), *backend_);
  const fs::path out = dir_.path() / "out";
  EXPECT_EQ(test::read_text(out / "report.json"), report.to_json() + "\n");
  EXPECT_EQ(test::read_text(out / "report.html"), report.to_html());

  std::set<std::string> names = {"report.json", "report.html"};
  for (const FileHash& file : report.outputs) {
    names.insert(file.name);
    EXPECT_EQ(file.sha256, io::sha256(test::read_text(out / file.name))) << file.name;
    EXPECT_EQ(file.bytes, static_cast<int64_t>(fs::file_size(out / file.name))) << file.name;
  }
  std::set<std::string> found;
  for (const auto& entry : fs::directory_iterator(out)) found.insert(entry.path().filename());
  EXPECT_EQ(names, found);

  int64_t scales = 0;
  for (const auto& [bin, count] : report.scales) scales += count;
  int64_t stored = 0;
  const io::Checkpoint made = io::Checkpoint::open(out);
  for (const std::string& name : made.names()) {
    if (name.ends_with(".weight_scale")) stored += made.get(name).numel();
  }
  EXPECT_EQ(scales, stored);
  double booked = 0;
  for (const RunReport::Phase& phase : report.run.phases) booked += phase.seconds;
  EXPECT_NEAR(booked, report.run.seconds, 0.1);
}

TEST_F(TinyQuantization, AContinuedRunReportsAllLayers) {
  quantize(options("undisturbed"));
  interrupt(options("out"), 6);  // after the first layer
  quantize(options("out"));
  const auto without_run = [&](const char* output) {
    auto json = test::json_of(test::read_text(dir_.path() / output / "report.json"));
    EXPECT_TRUE(json.at("run").contains("phases"));
    json.erase("run");
    return json;
  };
  EXPECT_EQ(without_run("out"), without_run("undisturbed"));
  EXPECT_EQ(without_run("out")["linears"].size(), 14u);
}

TEST_F(TinyQuantization, ABudgetIsSpentAlikeAfterAStop) {
  const auto spend = [&](const std::string& output, double budget) {
    QuantizeOptions o = options(output);
    o.budget = budget;
    o.group_size = 16;
    o.overrides = {{.pattern = "re:.*layers.0.*o_proj", .bits = 4}};
    return o;
  };
  const QuantizeReport whole = quantize_checkpoint(spend("whole", 7), *backend_);
  EXPECT_LE(whole.bits_per_weight, 7);
  EXPECT_GT(whole.bits_per_weight, 6);
  ASSERT_EQ(whole.sensitivity.size(), 8u);
  EXPECT_EQ(whole.sensitivity[1].bits, 4);
  for (const SensitivityReport& u : whole.sensitivity) EXPECT_LT(u.loss_8, u.loss_4 / 50);
  interrupt(spend("out", 7), 6);
  const QuantizeReport report = quantize_checkpoint(spend("out", 7), *backend_);
  EXPECT_EQ(plan_.resumed_layers, 1);
  EXPECT_EQ(report.recipe, whole.recipe);
  EXPECT_EQ(weights("out"), weights("whole"));
  EXPECT_TRUE(says(error_of(ErrorCode::usage, [&] { quantize(spend("few", 4.5)); }),
                   "4.5 bits per weight are too few"));
}

TEST_F(TinyQuantization, LayersMayHaveOtherBits) {
  for (const QuantizeMethod method : {QuantizeMethod::awq, QuantizeMethod::awq_gptq}) {
    const std::string output = "out-" + std::string(name(method));
    QuantizeOptions o = options(output);
    o.method = method;
    o.overrides = {{.pattern = "re:.*(gate|up)_proj", .bits = 16},
                   {.pattern = "re:.*layers.1.*o_proj", .bits = 8, .group_size = 16}};
    interrupt(o, 6);  // after the first layer
    const QuantizeReport report = quantize_checkpoint(o, *backend_);
    EXPECT_EQ(plan_.resumed_layers, 1);
    EXPECT_NEAR(static_cast<double>(plan_.output_bytes), static_cast<double>(report.output_bytes),
                0.01 * static_cast<double>(report.output_bytes));
    const io::Checkpoint made = io::Checkpoint::open(o.output);
    const std::string layer = "model.language_model.layers.1.";
    EXPECT_EQ(made.get(layer + "mlp.up_proj.weight").dtype(), DType::bf16);
    EXPECT_EQ(made.find(layer + "mlp.up_proj.weight_packed"), nullptr);
    EXPECT_EQ(made.get(layer + "self_attn.o_proj.weight_packed").dim(1), 32 / 4);
    EXPECT_EQ(made.get(layer + "self_attn.o_proj.weight_scale").dim(1), 2);
    EXPECT_EQ(made.get(layer + "mlp.down_proj.weight_packed").dim(1), 48 / 8);
    for (const LinearReport& l : report.linears) {
      const bool kept = l.module.ends_with("gate_proj") || l.module.ends_with("up_proj");
      EXPECT_EQ(l.bits, kept ? 16 : l.module == layer + "self_attn.o_proj" ? 8 : 4) << l.module;
      // Smoothing rescales rows of up_proj.
      EXPECT_LT(l.error, kept ? 0.004 : 0.5) << l.module;
    }
    const Engine engine(o.output, *backend_);  // reads every tensor by config.json
  }
}

}  // namespace
}  // namespace squint
