#include "eval/runner.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "base/check.h"
#include "eval/results.h"
#include "squint/error.h"

namespace squint::eval {
namespace {

using Clock = std::chrono::steady_clock;

Json full_header(const RunRequest& request) {
  SQUINT_CHECK(request.header.is_object());
  Json header = request.header;
  header["settings"]["rule"] = to_string(request.rule);
  Json plan = Json::array();
  for (const RowCount& part : count_rows(request.samples)) {
    plan.push_back({{"type", part.type}, {"dataset", part.dataset}, {"rows", part.rows}});
  }
  header["plan"] = std::move(plan);
  return header;
}

bool is_same_row(const Sample& sample, const ResultRow& row) {
  return sample.question == row.question && sample.answers == row.answers &&
         sample.image_key == row.image_key && sample.type == row.type &&
         sample.dataset == row.dataset;
}

// The plan counts rows only; that they are the same rows shows here.
void check_same_rows(const RunRequest& request, const std::vector<ResultRow>& finished) {
  std::map<int64_t, const Sample*> asked;
  for (const Sample& sample : request.samples) {
    SQUINT_CHECK(asked.emplace(sample.index, &sample).second);
  }
  for (const ResultRow& row : finished) {
    const auto found = asked.find(row.index);
    if (found == asked.end() || !is_same_row(*found->second, row)) {
      throw Error(
          ErrorCode::bad_input,
          fmt::format("{}: row {} is {}; choose another file", request.results.string(), row.index,
                      found == asked.end()
                          ? "none of those asked now"
                          : "another question, or has another image, type or answers"));
    }
  }
}

double duration(double ms) { return std::isfinite(ms) && ms > 0 ? ms : 0; }

ResultRow scored_row(const Sample& sample, Answer answer, ScoringRule rule) {
  SQUINT_CHECK(answer.finish_reason == "stop" || answer.finish_reason == "length" ||
               answer.finish_reason == "error");
  ResultRow row;
  row.index = sample.index;
  row.dataset = sample.dataset;
  row.type = sample.type;
  row.question = sample.question;
  row.answers = sample.answers;
  row.image_key = sample.image_key;
  row.prediction_raw = std::move(answer.text);
  row.prediction_scored = without_reasoning(row.prediction_raw);
  ScoreResult result = score({.formula = is_formula(sample.dataset, sample.type),
                              .answers = sample.answers,
                              .prediction = row.prediction_scored},
                             rule);
  const bool failed = answer.finish_reason == "error";
  row.hit = result.hit && !failed;
  row.hit_answer = row.hit ? result.hit_answer : -1;
  row.normalized_prediction = std::move(result.normalized_prediction);
  row.prompt_tokens = answer.prompt_tokens;
  row.image_tokens = answer.image_tokens;
  row.output_tokens = answer.output_tokens;
  row.finish_reason = std::move(answer.finish_reason);
  row.ms_prefill = duration(answer.ms_prefill);
  row.ms_decode = duration(answer.ms_decode);
  if (failed) row.error = answer.error.empty() ? "unknown" : std::move(answer.error);
  return row;
}

// Nothing where the rows were interrupted.
std::optional<std::vector<Answer>> ask(const AnswerSamples& answer,
                                       std::span<const Sample* const> samples) {
  try {
    std::vector<Answer> answers = answer(samples);
    SQUINT_CHECK(answers.size() == samples.size());
    return answers;
  } catch (const Error& e) {
    if (e.code() == ErrorCode::interrupted) return std::nullopt;
    if (e.code() == ErrorCode::usage) throw;  // Every row would fail alike.
    if (samples.size() == 1)
      return std::vector{Answer{.finish_reason = "error", .error = e.what()}};
  }
  std::vector<Answer> answers;  // One of them is to blame.
  for (size_t i = 0; i < samples.size(); ++i) {
    std::optional<std::vector<Answer>> alone = ask(answer, samples.subspan(i, 1));
    if (!alone) return std::nullopt;
    answers.push_back(std::move(alone->front()));
  }
  return answers;
}

void count(const ResultRow& row, EvaluateProgress& progress) {
  ++progress.done;
  progress.hits += row.hit ? 1 : 0;
  progress.errors += row.finish_reason == "error" ? 1 : 0;
}

}  // namespace

EvaluateSummary run_ocrbench(const RunRequest& request, const AnswerSample& answer,
                             const OnProgress& on_progress, const std::stop_token& stop) {
  const AnswerSamples answers = [&](std::span<const Sample* const> samples) {
    std::vector<Answer> out;
    for (const Sample* sample : samples) out.push_back(answer(*sample));
    return out;
  };
  return run_ocrbench(request, answers, on_progress, stop);
}

EvaluateSummary run_ocrbench(const RunRequest& request, const AnswerSamples& answer,
                             const OnProgress& on_progress, const std::stop_token& stop) {
  SQUINT_CHECK(request.rows_at_once >= 1);
  const Clock::time_point start = Clock::now();
  ResultsWriter results(request.results, full_header(request));
  check_same_rows(request, results.finished());
  EvaluateSummary summary;
  EvaluateProgress& progress = summary.progress;
  progress.total = static_cast<int64_t>(request.samples.size());
  progress.resumed = static_cast<int64_t>(results.finished().size());
  std::set<int64_t> finished;
  for (const ResultRow& row : results.finished()) {
    finished.insert(row.index);
    count(row, progress);
  }
  if (on_progress) on_progress(progress);
  std::vector<const Sample*> left;
  for (const Sample& sample : request.samples) {
    if (!finished.contains(sample.index)) left.push_back(&sample);
  }
  const auto at_once = static_cast<size_t>(request.rows_at_once);
  for (size_t at = 0; at < left.size(); at += at_once) {
    const std::span<const Sample* const> asked =
        std::span(left).subspan(at, std::min(at_once, left.size() - at));
    std::optional<std::vector<Answer>> given;
    if (!stop.stop_requested()) given = ask(answer, asked);
    if (!given) {
      summary.interrupted = true;
      break;
    }
    for (size_t i = 0; i < asked.size(); ++i) {
      const ResultRow row = scored_row(*asked[i], std::move((*given)[i]), request.rule);
      results.append(row);
      count(row, progress);
    }
    progress.elapsed_s = std::chrono::duration<double>(Clock::now() - start).count();
    if (on_progress) on_progress(progress);
  }
  return summary;
}

}  // namespace squint::eval
