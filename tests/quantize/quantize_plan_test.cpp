#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "io/error_of.h"
#include "quantize/quantize_plan.h"
#include "quantize/work_estimate.h"
#include "squint/quantize.h"
#include "support/paths.h"
#include "support/tiny_checkpoint.h"

namespace squint::quantize {
namespace {

namespace fs = std::filesystem;
using test::error_of;
using test::says;

class Plan : public ::testing::Test {
 protected:
  Plan() {
    std::string rows;
    for (int i = 0; i < 200; ++i) {
      rows += R"({"messages": [{"role": "user", "content": "what is written here, and where?"}]})"
              "\n";
    }
    test::write_text(dir_.path() / "rows.jsonl", rows);
    fs::create_directory(dir_.path() / "model");
    files_.write(dir_.path() / "model");
  }

  QuantizeOptions options(const std::string& output) const {
    return {.model = dir_.path() / "model",
            .output = dir_.path() / output,
            .calibration = {{dir_.path() / "rows.jsonl"}}};
  }

  BackendPtr backend_ = open_backend({.threads = 2});
  test::TinyCheckpoint files_ = test::tiny_checkpoint(5);
  test::TempDir dir_;
};

TEST_F(Plan, WritesNothingAndSaysMemoryDiskAndTime) {
  const QuantizePlan plan = plan_quantization(options("out"), *backend_);
  EXPECT_EQ(plan.rows, 200);
  EXPECT_EQ(plan.layers, 2);
  EXPECT_EQ(plan.spilled_bytes, 0);
  EXPECT_GT(plan.peak_bytes, plan.activation_bytes + plan.block_bytes + plan.statistics_bytes);
  EXPECT_GT(plan.disk_bytes, plan.output_bytes);
  EXPECT_GT(plan.seconds, 0);
  double seconds = 0;
  for (const QuantizePlan::Phase& phase : plan.phases) seconds += phase.seconds;
  EXPECT_DOUBLE_EQ(seconds, plan.seconds);
  EXPECT_FALSE(fs::exists(dir_.path() / "out"));
  EXPECT_FALSE(fs::exists(dir_.path() / "out.journal"));
}

TEST_F(Plan, StatesThatMemoryMayNotHoldGoToAFile) {
  QuantizeOptions o = options("out");
  o.observer = RangeObserver::imatrix;
  const io::Checkpoint checkpoint = io::Checkpoint::open(o.model);
  const qwen3_vl::Config config = qwen3_vl::parse_config(checkpoint.config(), "config.json");
  const ModuleSchemes schemes = module_schemes(o, config.text.layers);
  const CalibrationSize none;
  const CalibrationSize size{.rows = 3, .tokens = 1000, .image_tokens = 500, .images = 2};
  const auto plan_with = [&](int64_t memory_bytes) {
    o.memory_bytes = memory_bytes;
    return make_plan({.options = o,
                      .config = config,
                      .checkpoint = checkpoint,
                      .schemes = schemes,
                      .size = size,
                      .held_out = none,
                      .rates = measure_rates(*backend_),
                      .held_bytes = 1000});
  };
  const QuantizePlan whole = plan_with(0);
  const int64_t taps = 1;
  EXPECT_EQ(whole.activation_bytes,
            ((2 * 1000 + taps * 500) * config.text.hidden + 1000 * config.text.head_dim) * 4);
  EXPECT_EQ(plan_with(whole.peak_bytes).spilled_bytes, 0);
  const QuantizePlan small = plan_with(whole.peak_bytes - 1);
  EXPECT_GE(small.spilled_bytes, whole.activation_bytes);
  EXPECT_EQ(small.peak_bytes, whole.peak_bytes - whole.activation_bytes);
  EXPECT_EQ(small.disk_bytes, whole.disk_bytes + small.spilled_bytes);
  EXPECT_EQ(small.peak_phase, "which tokens matter");
}

TEST_F(Plan, ALayerMustFitInAnyCase) {
  QuantizeOptions o = options("out");
  o.memory_bytes = 1000;
  o.image_weight = 1;
  o.held_out = 0;
  const std::string message =
      error_of(ErrorCode::bad_input, [&] { quantize_checkpoint(o, *backend_); });
  EXPECT_TRUE(says(message, "memory: 0.00 GB are allowed, the run needs about"));
  EXPECT_TRUE(says(message, "even with hidden states in a file"));
  EXPECT_TRUE(says(message, "methods without gptq"));
  EXPECT_FALSE(fs::exists(o.output));
}

// A table that can be followed by hand: everything takes a second.
TEST(WorkEstimate, CountsWhatIsLeft) {
  const QuantizeOptions options{.method = QuantizeMethod::rtn, .observer = RangeObserver::minmax};
  qwen3_vl::Config config;
  config.text = {
      .hidden = 4, .layers = 3, .heads = 1, .kv_heads = 1, .head_dim = 4, .intermediate = 8};
  const CalibrationSize none;
  WorkRates rates;
  rates.pass = 4 * (4 + 2 * 4 + 4 + 3 * 8);  // weights of a layer
  rates.hash = 100;
  const WorkInputs in{.options = options,
                      .config = config,
                      .size = none,
                      .resumed_layers = 1,
                      .source_bytes = 50,
                      .output_bytes = 200,
                      .bytes_a_second = 50};
  const std::vector<QuantizePlan::Phase> phases = estimate_phases(in, rates);
  ASSERT_EQ(phases.size(), 3u);
  EXPECT_EQ(phases[0].name, "scales and rounding");
  EXPECT_DOUBLE_EQ(phases[0].seconds, 1 + 2 * 7);  // reading; rounding, six passes for the report
  EXPECT_EQ(phases[1].name, "writing");
  EXPECT_DOUBLE_EQ(phases[1].seconds, 8);
  EXPECT_EQ(phases[2].name, "hashing");
  EXPECT_DOUBLE_EQ(phases[2].seconds, 2);
}

}  // namespace
}  // namespace squint::quantize
