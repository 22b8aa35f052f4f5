// The figures that the quantizer promises, on the full sets.
#include <gtest/gtest.h>

#include "squint/compare.h"
#include "squint/quantize.h"
#include "support/paths.h"

namespace squint {
namespace {

// On the first `limit` rows; 0: all.
Divergence quantize_and_compare(QuantizeOptions options, const std::filesystem::path& shared,
                                int64_t limit = 0) {
  const test::TempDir dir;
  const BackendPtr backend = open_backend({.threads = 2});
  options.model = shared / "tiny-qwen3-vl-ocr";
  options.output = dir.path() / "out";
  quantize_checkpoint(options, *backend);
  return compare_models({.base = options.model,
                         .others = {options.output},
                         .data = shared / "synthocr",
                         .limit = limit},
                        *backend)
      .front();
}

// llm-compressor's plain rounding of this model diverges by 0.13784.
TEST(SharedQuantize, PlainRoundingDivergesAsTheReferences) {
  const auto shared = test::shared_data();
  if (!shared) GTEST_SKIP() << test::kNoShared;
  const Divergence d = quantize_and_compare(
      {.method = QuantizeMethod::rtn, .observer = RangeObserver::minmax, .signed_scales = false},
      *shared);
  EXPECT_NEAR(d.kl, 0.1378, 0.1378 * 0.02);
}

// llm-compressor's AWQ with the MSE observer reaches 0.005165 and .98768; with scales of either
// sign it is closer.
TEST(SharedQuantize, AwqIsNoWorseThanTheReferences) {
  const auto shared = test::shared_data();
  if (!shared) GTEST_SKIP() << test::kNoShared;
  const Divergence d = quantize_and_compare(
      {.calibration = {{*shared / "calibration"}}, .method = QuantizeMethod::awq}, *shared);
  EXPECT_LE(d.kl, 0.0048);
  EXPECT_GE(d.top1, 0.987);
}

// llm-compressor's AWQ and GPTQ together reach 0.0288 on all rows, where this reaches 0.0019 as on
// these.
TEST(SharedQuantize, TheDefaultIsAsGoodAsItsPresetPromises) {
  const auto shared = test::shared_data();
  if (!shared) GTEST_SKIP() << test::kNoShared;
  const Divergence d =
      quantize_and_compare({.calibration = {{*shared / "calibration"}}}, *shared, 300);
  EXPECT_LE(d.kl, 0.0022);
  EXPECT_GE(d.top1, 0.991);
}

// Without channels that stand out AWQ elsewhere can lose to plain rounding.
TEST(SharedQuantize, NoPresetIsWorseThanPlainRoundingWhereNoChannelStandsOut) {
  const auto shared = test::shared_data();
  if (!shared) GTEST_SKIP() << test::kNoShared;
  const test::TempDir dir;
  const BackendPtr backend = open_backend({.threads = 2});
  QuantizeOptions options{.model = *shared / "random-shapes",
                          .calibration = {{*shared / "calibration"}},
                          .rows = 48,
                          .held_out = 0};
  CompareOptions pairs{.base = options.model, .data = *shared / "synthocr", .limit = 40};
  const auto quantize = [&](const char* name) {
    pairs.others.push_back(options.output = dir.path() / name);
    quantize_checkpoint(options, *backend);
  };
  options.method = QuantizeMethod::rtn;
  quantize("rtn");
  for (const auto& [preset, name] : {std::pair{QuantizePreset::fast, "fast"},
                                     {QuantizePreset::balanced, "balanced"},
                                     {QuantizePreset::best, "best"}}) {
    apply_preset(preset, options);
    options.joined = 0;  // this model reads nothing
    quantize(name);
  }
  const std::vector<Divergence> results = compare_models(pairs, *backend);
  ASSERT_EQ(results.size(), 4);
  for (size_t i = 1; i < results.size(); ++i) {
    EXPECT_LT(results[i].kl, results[0].kl) << results[i].other;
  }
}

TEST(SharedQuantize, ClippingIsWorthATenth) {
  const auto shared = test::shared_data();
  if (!shared) GTEST_SKIP() << test::kNoShared;
  const Divergence d = quantize_and_compare({.calibration = {{*shared / "calibration"}},
                                             .method = QuantizeMethod::awq,
                                             .observer = RangeObserver::clip},
                                            *shared);
  EXPECT_LE(d.kl, 0.0049);
  EXPECT_GE(d.top1, 0.986);
}

}  // namespace
}  // namespace squint
