// The rows of synthocr and what the reference model answers to them.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/json.h"
#include "eval/ocrbench.h"
#include "eval/runner.h"
#include "eval/score.h"
#include "squint/evaluate.h"
#include "support/paths.h"

namespace squint::eval {
namespace {

class Shared : public ::testing::Test {
 protected:
  void SetUp() override {
    data_ = test::shared_data();
    if (!data_) GTEST_SKIP() << test::kNoShared;
    samples_ = load_ocrbench(*data_ / "synthocr");
  }
  // The hits of a run in which `answer` turns each row into an output.
  template <class AnswerOf>
  int64_t total(const AnswerOf& answer) {
    int64_t hits = 0;
    for (const Sample& sample : samples_) {
      const std::string prediction = answer(sample);
      hits += score({.formula = is_formula(sample.dataset, sample.type),
                     .answers = sample.answers,
                     .prediction = prediction})
                  .hit;
    }
    return hits;
  }
  AnswerSample predictions(const char* precision) {
    const Json rows =
        parse_json(test::read_text(*data_ / "goldens" /
                                   (std::string("predictions-synthocr-") + precision + ".json")),
                   precision);
    return [rows](const Sample& sample) {
      Answer answer;
      answer.text = rows.at(static_cast<size_t>(sample.index)).at("text").get<std::string>();
      return answer;
    };
  }

  std::optional<std::filesystem::path> data_;
  std::vector<Sample> samples_;
};

TEST_F(Shared, SelfTestVectors) {
  ASSERT_EQ(samples_.size(), 1000u);
  EXPECT_FALSE(is_complete(count_rows(samples_)));
  EXPECT_EQ(total([](const Sample& s) { return s.answers.front(); }), 1000);
  EXPECT_EQ(total([](const Sample& s) { return s.answers.back(); }), 1000);
  EXPECT_EQ(total([](const Sample& s) { return s.answers.front() + "."; }), 1000);
  EXPECT_EQ(total([](const Sample& s) { return "$$" + s.answers.front() + "$$"; }), 1000);
  EXPECT_EQ(total([](const Sample&) { return std::string(); }), 0);
  EXPECT_EQ(total([](const Sample&) { return std::string("Yes. No."); }), 0);
}

TEST_F(Shared, GoldenPredictionsScoreAsTheReferenceDoes) {
  EXPECT_EQ(total([answer = predictions("fp32")](const Sample& s) { return answer(s).text; }), 762);
  EXPECT_EQ(total([answer = predictions("bf16")](const Sample& s) { return answer(s).text; }), 765);
}

TEST_F(Shared, BothPrecisionsReadAlike) {
  const test::TempDir folder;
  const Json header = {{"settings", {{"prompt", "raw"}}}};
  const auto a = folder.path() / "fp32.jsonl";
  const auto b = folder.path() / "bf16.jsonl";
  EXPECT_EQ(run_ocrbench({.samples = samples_, .header = header, .results = a}, predictions("fp32"))
                .progress.hits,
            762);
  run_ocrbench({.samples = samples_, .header = header, .results = b}, predictions("bf16"));
  const EvaluationReport report = compare_results(a, b);
  const Json c = Json::parse(report.to_json()).at("comparison");
  EXPECT_EQ(c["verdict"], "within noise");
  EXPECT_TRUE(report.passed());
  EXPECT_EQ(c["c"].get<int64_t>() - c["b"].get<int64_t>(), 3);
}

}  // namespace
}  // namespace squint::eval
