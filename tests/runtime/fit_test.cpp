#include "squint/fit.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <numeric>

#include "io/error_of.h"
#include "support/json.h"
#include "support/paths.h"

namespace squint {
namespace {

using test::error_of;
using test::says;

class Fit : public ::testing::Test {
 protected:
  Fit() {
    options_ = {.model = test::repo_dir() / "models/reader",
                .images = {{.width = 512, .height = 512}},
                .context = 2048,
                .answer = 512};
  }
  FitPlan plan() const { return plan_fit(options_, *backend_); }
  std::string refusal() const {
    return error_of(ErrorCode::usage, [&] { plan(); });
  }
  int64_t part(const char* name) const {
    for (const FitPart& p : plan().parts) {
      if (p.name == name) return p.bytes;
    }
    return 0;
  }

  BackendPtr backend_ = open_backend({.threads = 2});
  FitOptions options_;
};

TEST_F(Fit, PartsSumUp) {
  const FitPlan p = plan();
  EXPECT_EQ(p.image_tokens, 256);
  EXPECT_EQ(p.prompt, 1536);
  EXPECT_NEAR(static_cast<double>(p.parameters), 17.7e6, 0.1e6);
  int64_t sum = 0;
  for (const FitPart& each : p.parts) sum += each.bytes;
  EXPECT_EQ(sum, p.total_bytes);
  EXPECT_EQ(part("cache"), 6 * 2 * 2 * 64 * 4 * 2048);  // layers, both, heads, width, floats
  EXPECT_TRUE(p.fits);
  EXPECT_EQ(p.moment, "reading the prompt");
  const Json json = test::json_of(p.to_json());
  EXPECT_EQ(json["total_bytes"], p.total_bytes);
  EXPECT_EQ(json["parts"].size(), p.parts.size());
}

TEST_F(Fit, AConfigAloneIsEnough) {
  const FitPlan whole = plan();
  const test::TempDir dir;
  std::filesystem::copy_file(options_.model / "config.json", dir.path() / "config.json");
  options_.model = dir.path() / "config.json";
  const FitPlan alone = plan();
  EXPECT_EQ(alone.stored_bytes, whole.stored_bytes);
  EXPECT_EQ(alone.image_tokens, whole.image_tokens);
  EXPECT_NEAR(static_cast<double>(alone.total_bytes), static_cast<double>(whole.total_bytes),
              4e6);  // what this test program takes meanwhile
}

TEST_F(Fit, FourBitsAreAQuarterAndScales) {
  const int64_t dense = part("text layers");
  options_.bits = 4;
  const int64_t packed = part("text layers");
  // 4 bits of 16, and a scale and a zero point in float32 for 128 weights.
  EXPECT_NEAR(static_cast<double>(packed) / static_cast<double>(dense), 0.25 + 8.0 / 256, 0.01);
  EXPECT_TRUE(says(plan().to_text(), "W4A16, groups of 128"));
  options_.bits = 5;
  EXPECT_TRUE(says(refusal(), "expected 4 or 8, found 5"));
  options_.bits = 4;
  options_.group_size = 100;
  EXPECT_TRUE(says(refusal(), "groups of 100 columns do not divide"));
}

TEST_F(Fit, SaysWhatWouldFit) {
  options_.memory = plan().total_bytes - 1'000'000;
  const FitPlan p = plan();
  EXPECT_FALSE(p.fits);
  ASSERT_FALSE(p.changes.empty());
  for (const FitChange& change : p.changes) EXPECT_LE(change.total_bytes, options_.memory);
  EXPECT_TRUE(says(p.to_text(), "does not fit"));
  EXPECT_TRUE(says(p.to_text(), "--context 1024"));
  EXPECT_TRUE(says(p.to_text(), "--bits 4"));
  // What it says is what that plan then has.
  options_.context = 1024;
  EXPECT_TRUE(plan().fits);

  options_.memory = 1'000'000;
  EXPECT_TRUE(plan().changes.empty());
  EXPECT_TRUE(says(plan().to_text(), "a smaller model does"));
}

TEST_F(Fit, RefusesWhatCannotBe) {
  options_.images = {{.width = 2048, .height = 2048}};
  options_.max_pixels = 2048 * 2048;
  EXPECT_TRUE(says(refusal(), "the images take 4096 tokens, the prompt has room for 1536"));
  options_.images = {{.width = 0, .height = 5}};
  EXPECT_TRUE(says(refusal(), "image 0x5"));
  options_.images = {{.width = 1, .height = 500}};
  EXPECT_TRUE(says(refusal(), "200 times"));
  options_.images = {};
  options_.context = 100'000;
  EXPECT_TRUE(says(refusal(), "the model was made for 4096"));
  options_.context = 512;
  EXPECT_TRUE(says(refusal(), "an answer shorter than it"));
  options_.context = int64_t{1} << 62;
  EXPECT_TRUE(says(refusal(), "the model was made for 4096"));
  options_.model = "/nowhere/config.json";
  error_of(ErrorCode::io, [&] { plan(); });
}

TEST_F(Fit, ShorterTakesLess) {
  int64_t before = 0;
  for (const int64_t context : {64, 256, 1024, 4096}) {
    options_.images = {};
    options_.context = context;
    options_.answer = context / 2;
    const int64_t total = plan().total_bytes;
    EXPECT_GE(total, before);
    before = total;
  }
}

}  // namespace
}  // namespace squint
