// runner.h: asks every question of a data set once, scores the answers, keeps them on disk.
//
// What answers is the caller's: the runner knows no model. It can be stopped between rows and
// continued later from the same results file.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

#include "base/json.h"
#include "eval/ocrbench.h"
#include "eval/score.h"
#include "squint/ocrbench.h"

namespace squint::eval {

struct Answer {
  std::string text;
  int64_t prompt_tokens = 0, image_tokens = 0, output_tokens = 0;
  std::string finish_reason = "stop";  // stop, length or error
  double ms_prefill = 0, ms_decode = 0;
  std::string error;  // why, where finish_reason is error
};

// Throws squint::Error for a row that failed: the row is written as an error, counted and scored 0.
// Error(interrupted) stops the run instead and leaves the row for the next one; so does
// Error(usage), which is no row's fault and leaves run_ocrbench.
using AnswerSample = std::function<Answer(const Sample&)>;
// The same for several rows at once, an answer for each. Where it throws Error because of one of
// them, they are asked again one by one.
using AnswerSamples = std::function<std::vector<Answer>(std::span<const Sample* const>)>;

// Called once at the start, then after each row.
using OnProgress = std::function<void(const EvaluateProgress&)>;

struct RunRequest {
  std::span<const Sample> samples;
  // An object (see results.h). The runner adds settings.rule and the plan: rows per type and data
  // set.
  const Json& header;
  std::filesystem::path results;
  ScoringRule rule = ScoringRule::official;
  int64_t rows_at_once = 1;
};

// Rows that the file has are not asked again. Throws Error(bad_input) where the file holds another
// run or other rows, Error(io) as soon as a row cannot be written.
EvaluateSummary run_ocrbench(const RunRequest& request, const AnswerSamples& answer,
                             const OnProgress& on_progress = {}, const std::stop_token& stop = {});
EvaluateSummary run_ocrbench(const RunRequest& request, const AnswerSample& answer,
                             const OnProgress& on_progress = {}, const std::stop_token& stop = {});

}  // namespace squint::eval
