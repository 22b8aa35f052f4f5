#include "eval/runner.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "eval/results.h"
#include "squint/error.h"
#include "support/paths.h"

namespace squint::eval {
namespace {
namespace fs = std::filesystem;

class Runner : public ::testing::Test {
 protected:
  void SetUp() override {
    for (int i = 0; i < 6; ++i) {
      Sample sample;
      sample.index = i;
      sample.dataset = "D";
      sample.type = i < 4 ? "Regular Text Recognition" : std::string(kFormulaType);
      sample.question = "row " + std::to_string(i);
      sample.answers = {"Answer " + std::to_string(i)};
      sample.image_key = std::to_string(i / 2);
      samples_.push_back(sample);
    }
  }

  EvaluateSummary run(const AnswerSample& answer, const OnProgress& progress = {},
                      std::stop_token stop = {}) {
    return run_ocrbench({.samples = samples_, .header = header_, .results = path_}, answer,
                        progress, stop);
  }
  ErrorCode failure(const AnswerSample& answer) {
    try {
      run(answer);
    } catch (const Error& e) {
      return e.code();
    }
    ADD_FAILURE() << "nothing thrown";
    return ErrorCode::usage;
  }

  test::TempDir folder_;
  fs::path path_ = folder_.path() / "r.jsonl";
  Json header_ = {{"settings", {{"prompt", "raw"}}}, {"model_name", "fake"}};
  std::vector<Sample> samples_;
};

Answer right(const Sample& sample) {
  Answer answer;
  answer.text = sample.answers[0];
  answer.output_tokens = 3;
  answer.ms_decode = 2;
  return answer;
}

TEST_F(Runner, AsksEveryRowAndScores) {
  std::vector<int64_t> done;
  const EvaluateSummary summary = run(
      [](const Sample& sample) {
        Answer answer = right(sample);
        if (sample.index == 1 || sample.index == 5)
          answer.text = "ANSWER " + sample.question.substr(4);
        return answer;
      },
      [&](const EvaluateProgress& progress) { done.push_back(progress.done); });
  EXPECT_FALSE(summary.interrupted);
  EXPECT_EQ(summary.progress.done, 6);
  EXPECT_EQ(summary.progress.total, 6);
  EXPECT_EQ(summary.progress.hits, 5);  // Case counts in row 5, a formula.
  EXPECT_EQ(done, (std::vector<int64_t>{0, 1, 2, 3, 4, 5, 6}));
  const ResultsFile file = read_results(path_);
  ASSERT_EQ(file.rows.size(), 6u);
  EXPECT_TRUE(file.rows[1].hit);
  EXPECT_EQ(file.rows[1].normalized_prediction, "answer 1");
  EXPECT_EQ(file.rows[1].image_key, "0");
  EXPECT_FALSE(file.rows[5].hit);
  const Json header = parse_json(file.header, "r");
  EXPECT_EQ(header["settings"]["rule"], "official");
  EXPECT_EQ(header["plan"].size(), 2u);
  EXPECT_EQ(header["plan"][1]["rows"], 2);
}

TEST_F(Runner, KeepsReasoningButDoesNotScoreIt) {
  run([](const Sample& sample) {
    Answer answer;
    answer.text = "<think>" + sample.answers[0] + "</think>no";
    return answer;
  });
  const ResultRow row = read_results(path_).rows[0];
  EXPECT_EQ(row.prediction_raw, "<think>Answer 0</think>no");
  EXPECT_EQ(row.prediction_scored, "no");
  EXPECT_FALSE(row.hit);
}

TEST_F(Runner, AFailedRowIsCountedAndTheRunGoesOn) {
  const EvaluateSummary summary = run([](const Sample& sample) {
    if (sample.index == 2) throw Error(ErrorCode::io, "image: gone");
    Answer answer = right(sample);
    if (sample.index == 3) answer.finish_reason = "error";  // Right, but failed all the same.
    return answer;
  });
  EXPECT_EQ(summary.progress.done, 6);
  EXPECT_EQ(summary.progress.errors, 2);
  EXPECT_EQ(summary.progress.hits, 4);
  const ResultsFile file = read_results(path_);
  EXPECT_EQ(file.rows[2].finish_reason, "error");
  EXPECT_EQ(file.rows[2].error, "image: gone");
  EXPECT_EQ(file.rows[3].error, "unknown");
  EXPECT_FALSE(file.rows[3].hit);
}

TEST_F(Runner, InterruptedRunsContinue) {
  int asked = 0;
  const AnswerSample stops_at_2 = [&](const Sample& sample) {
    ++asked;
    if (sample.index == 2) throw Error(ErrorCode::interrupted, "Ctrl-C");
    return right(sample);
  };
  const EvaluateSummary first = run(stops_at_2);
  EXPECT_TRUE(first.interrupted);
  EXPECT_EQ(first.progress.done, 2);
  EXPECT_EQ(asked, 3);
  EXPECT_EQ(read_results(path_).rows.size(), 2u);
  asked = 0;
  const EvaluateSummary second = run([&](const Sample& sample) {
    ++asked;
    return right(sample);
  });
  EXPECT_EQ(asked, 4);
  EXPECT_FALSE(second.interrupted);
  EXPECT_EQ(second.progress.resumed, 2);
  EXPECT_EQ(second.progress.done, 6);
  EXPECT_EQ(second.progress.hits, 6);
  // In one go or in two: the same bytes.
  const std::string in_two = test::read_text(path_);
  fs::remove(path_);
  run(right);
  EXPECT_EQ(test::read_text(path_), in_two);
}

TEST_F(Runner, ResumesBehindATornLine) {
  run(right);
  const std::string whole = test::read_text(path_);
  test::write_text(path_, whole.substr(0, whole.size() - 30));
  const EvaluateSummary summary = run(right);
  EXPECT_EQ(summary.progress.resumed, 5);
  EXPECT_EQ(test::read_text(path_), whole);
}

TEST_F(Runner, StopTokenStopsBetweenRows) {
  std::stop_source source;
  const EvaluateSummary summary = run(
      right,
      [&](const EvaluateProgress& progress) {
        if (progress.done == 4) source.request_stop();
      },
      source.get_token());
  EXPECT_TRUE(summary.interrupted);
  EXPECT_EQ(summary.progress.done, 4);
}

TEST_F(Runner, StoppingAfterTheLastRowIsNoInterruption) {
  std::stop_source source;
  const EvaluateSummary summary = run(
      right,
      [&](const EvaluateProgress& progress) {
        if (progress.done == 6) source.request_stop();
      },
      source.get_token());
  EXPECT_FALSE(summary.interrupted);
}

TEST_F(Runner, RefusesAnotherRunsFile) {
  run(right);
  samples_[0].answers = {"other"};
  EXPECT_EQ(failure(right), ErrorCode::bad_input);
  samples_[0].answers = {"Answer 0"};
  samples_[0].index = 17;
  EXPECT_EQ(failure(right), ErrorCode::bad_input);
  samples_[0].index = 0;
  samples_.pop_back();  // The plan differs.
  EXPECT_EQ(failure(right), ErrorCode::bad_input);
}

// The plan, which only counts, stays the same in all of these.
TEST_F(Runner, RefusesRowsOfAnotherImageOrType) {
  run(right);
  samples_[0].image_key = "another";
  EXPECT_EQ(failure(right), ErrorCode::bad_input);
  samples_[0].image_key = "0";
  std::swap(samples_[0].type, samples_[4].type);
  EXPECT_EQ(failure(right), ErrorCode::bad_input);
  std::swap(samples_[0].type, samples_[4].type);
  run(right);
  fs::remove(path_);
  samples_[1].dataset = "E";
  run(right);
  std::swap(samples_[0].dataset, samples_[1].dataset);
  EXPECT_EQ(failure(right), ErrorCode::bad_input);
}

TEST_F(Runner, AnImpossibleRequestIsNoFailedRow) {
  EXPECT_EQ(failure([](const Sample&) -> Answer { throw Error(ErrorCode::usage, "max_tokens"); }),
            ErrorCode::usage);
  EXPECT_TRUE(read_results(path_).rows.empty());
  EXPECT_EQ(run(right).progress.done, 6);
}

TEST_F(Runner, RuleIsAmongTheSettings) {
  run(right);
  EXPECT_THROW(
      run_ocrbench(
          {.samples = samples_, .header = header_, .results = path_, .rule = ScoringRule::lmms},
          right),
      Error);
}

TEST_F(Runner, ABrokenInvariantStopsTheRun) {
  EXPECT_THROW(run([](const Sample&) -> Answer { throw InternalError("bug"); }), InternalError);
  samples_[1].index = 0;
  fs::remove(path_);
  EXPECT_THROW(run(right), InternalError);
}

TEST_F(Runner, CannotWriteAtAll) {
  test::write_text(folder_.path() / "file", "");
  path_ = folder_.path() / "file" / "r.jsonl";
  EXPECT_EQ(failure(right), ErrorCode::io);
}

TEST_F(Runner, RowsAtOnceAreAnsweredTogether) {
  std::vector<size_t> counts;
  const AnswerSamples answer = [&](std::span<const Sample* const> asked) {
    counts.push_back(asked.size());
    std::vector<Answer> answers;
    for (const Sample* sample : asked) answers.push_back(right(*sample));
    return answers;
  };
  const RunRequest request{
      .samples = samples_, .header = header_, .results = path_, .rows_at_once = 4};
  EXPECT_EQ(run_ocrbench(request, answer).progress.hits, 6);
  EXPECT_EQ(counts, (std::vector<size_t>{4, 2}));
}

// Four rows together fail because of one: each is asked alone, and only that one is an error.
TEST_F(Runner, ARowThatFailsTakesNoOtherWithIt) {
  const AnswerSamples answer = [&](std::span<const Sample* const> asked) {
    std::vector<Answer> answers;
    for (const Sample* sample : asked) {
      if (sample->index == 2) throw Error(ErrorCode::bad_input, "row 2 is broken");
      answers.push_back(right(*sample));
    }
    return answers;
  };
  const RunRequest request{
      .samples = samples_, .header = header_, .results = path_, .rows_at_once = 4};
  const EvaluateSummary done = run_ocrbench(request, answer);
  EXPECT_EQ(done.progress.done, 6);
  EXPECT_EQ(done.progress.hits, 5);
  EXPECT_EQ(done.progress.errors, 1);
  EXPECT_EQ(read_results(path_).rows[2].error, "row 2 is broken");
}

TEST_F(Runner, TimesThatAreNoNumbersBecomeZero) {
  run([](const Sample& sample) {
    Answer answer = right(sample);
    answer.ms_prefill = std::numeric_limits<double>::quiet_NaN();
    answer.ms_decode = -1;
    return answer;
  });
  EXPECT_EQ(read_results(path_).rows[0].ms_prefill, 0);
  EXPECT_EQ(read_results(path_).rows[0].ms_decode, 0);
}

}  // namespace
}  // namespace squint::eval
