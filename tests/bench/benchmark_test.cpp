#include "squint/bench.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <string>

#include "io/error_of.h"
#include "support/json.h"
#include "support/paths.h"
#include "support/tiny_checkpoint.h"

namespace squint {
namespace {

using test::error_of;
using test::says;
using Limit = BenchMeasure::Limit;

class Benchmarks : public ::testing::Test {
 protected:
  Benchmarks() {
    for (const char* name : {"one", "two"}) {
      std::filesystem::create_directory(dir_.path() / name);
      test::tiny_checkpoint(name[0] == 'o' ? 1 : 2).write(dir_.path() / name);
    }
    options_ = {.models = {dir_.path() / "one", dir_.path() / "two"},
                .rounds = 3,
                .prefill = {8, 40},
                .depth = {0, 40},
                .generate = 4,
                .image_width = 64,
                .image_height = 96};
  }
  BenchReport run() { return run_benchmark(options_, *backend_); }
  std::string refusal() {
    return error_of(ErrorCode::usage, [&] { run(); });
  }

  BackendPtr backend_ = open_backend({.threads = 2});
  test::TempDir dir_;
  BenchOptions options_;
};

TEST_F(Benchmarks, EveryMeasureHasAValueForEachRound) {
  std::vector<std::string> notes;
  int64_t total = 0;
  options_.on_progress = [&](const BenchProgress& p) {
    EXPECT_GE(p.total, p.done);
    total = p.total;
    notes.push_back(p.note);
  };
  const BenchReport report = run();
  EXPECT_EQ(static_cast<int64_t>(notes.size()), total + 1);
  // Models take turns.
  EXPECT_EQ(notes[0], "round 1: one, loading");
  EXPECT_EQ(notes[static_cast<size_t>(total / 6)], "round 1: two, loading");
  ASSERT_EQ(report.models.size(), 2u);
  EXPECT_TRUE(report.same_tokens());
  for (const BenchModel& model : report.models) {
    std::set<std::string> names;
    for (const BenchMeasure& m : model.measures) {
      names.insert(m.name);
      EXPECT_EQ(m.values.size(), 3u) << m.name;
      EXPECT_LE(m.lowest, m.median) << m.name;
      EXPECT_LE(m.median, m.highest) << m.name;
      EXPECT_TRUE(m.lowest > 0 || m.name == "memory_after_load_mb") << m.name;
      EXPECT_EQ(m.limit != Limit::none, m.work > 0) << m.name;
      EXPECT_EQ(m.limit != Limit::none, m.share > 0) << m.name;
    }
    for (const char* name :
         {"load_s", "memory_after_load_mb", "image_ms", "first_token_ms", "seconds_per_answer",
          "tokens_per_second", "prefill_8_tokens_per_second", "prefill_40_tokens_per_second",
          "decode_0_tokens_per_second", "decode_40_tokens_per_second"}) {
      EXPECT_EQ(names.count(name), 1u) << name;
    }
    EXPECT_GT(model.token_weight_bytes, 0);
    EXPECT_GT(model.image_tokens, 0);
  }
  const Json json = test::json_of(report.to_json());
  EXPECT_EQ(json["models"][1]["name"], "two");
  EXPECT_EQ(json["models"][0]["measures"]["load_s"]["values"].size(), 3u);
  EXPECT_EQ(json["same_tokens"], true);
}

TEST_F(Benchmarks, TablesKeepToTheirWidth) {
  options_.rounds = 1;
  const BenchReport two = run();
  EXPECT_TRUE(says(two.to_text(200), "ratio"));
  EXPECT_TRUE(says(two.to_markdown(), "| load time, s |"));
  BenchReport many = two;
  while (many.models.size() < 8) many.models.push_back(two.models.front());
  for (const BenchReport& report : {two, many}) {
    const std::string text = report.to_text(80);
    const size_t table = text.find("\n\n");
    size_t begin = table + 2;
    while (begin < text.size()) {
      const size_t end = text.find('\n', begin);
      EXPECT_LE(end - begin, 80u) << text.substr(begin, end - begin);
      begin = end + 1;
    }
  }
}

TEST_F(Benchmarks, AnswersThatDifferAreSaid) {
  options_.rounds = 1;
  BenchReport report = run();
  report.models[1].differences = {"round 2 answered the image with other tokens than round 1"};
  EXPECT_FALSE(report.same_tokens());
  EXPECT_TRUE(says(report.to_text(), "DIFFERENT: two: round 2 answered the image"));
  EXPECT_TRUE(says(report.to_markdown(), "DIFFERENT: two"));
  EXPECT_EQ(test::json_of(report.to_json())["same_tokens"], false);
}

TEST_F(Benchmarks, PromptsThatAreTooLongAreSaid) {
  options_.rounds = 1;
  options_.models.pop_back();
  options_.image_width = options_.image_height = 0;
  options_.prefill = {8, 1 << 23};
  options_.depth = {};
  const BenchReport report = run();
  ASSERT_EQ(report.models[0].skipped.size(), 1u);
  EXPECT_TRUE(says(report.models[0].skipped[0], "8388608 tokens: the model was made for"));
  EXPECT_TRUE(std::ranges::none_of(report.models[0].measures,
                                   [](const auto& m) { return m.name == "image_ms"; }));
}

TEST_F(Benchmarks, OptionsAreChecked) {
  options_.rounds = 0;
  EXPECT_TRUE(says(refusal(), "rounds: expected 1 to 1000, found 0"));
  options_.rounds = 1;
  options_.generate = 1;
  EXPECT_TRUE(says(refusal(), "generate: expected 2"));
  options_.generate = 2;
  options_.prefill = {0};
  EXPECT_TRUE(says(refusal(), "prefill: expected 1 token"));
  options_.prefill = {};
  options_.depth = {-1};
  EXPECT_TRUE(says(refusal(), "depth: expected 0"));
  options_.depth = {};
  options_.image_height = 0;
  EXPECT_TRUE(says(refusal(), "found 64x0"));
  options_.image_width = 0;
  options_.models.clear();
  EXPECT_TRUE(says(refusal(), "expected 1 to 8 models, found 0"));
  options_.models = {"/nowhere"};
  error_of(ErrorCode::io, [&] { run(); });
}

TEST_F(Benchmarks, StopsWhenAsked) {
  std::stop_source source;
  options_.stop = source.get_token();
  options_.on_progress = [&](const BenchProgress& p) {
    if (p.done == 2) source.request_stop();
  };
  error_of(ErrorCode::interrupted, [&] { run(); });
}

}  // namespace
}  // namespace squint
