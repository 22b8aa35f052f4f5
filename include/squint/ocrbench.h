// ocrbench.h: asks a model the questions of a benchmark.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <stop_token>
#include <string>

#include "squint/backend.h"

namespace squint {

struct EvaluateProgress {
  int64_t done = 0;     // rows in the results file
  int64_t total = 0;    // rows of the run
  int64_t resumed = 0;  // of done: finished by an earlier run
  int64_t hits = 0;
  int64_t errors = 0;
  double elapsed_s = 0;  // of this process
};

struct EvaluateOptions {
  std::filesystem::path model;
  std::filesystem::path data;     // a file or a folder, as eval/ocrbench.h finds it
  std::filesystem::path results;  // results.jsonl; continued where it exists
  int64_t limit = 0;              // the first rows only; 0: all
  int64_t max_tokens = 256;
  std::function<void(const EvaluateProgress&)> on_progress;
  std::stop_token stop;
};

struct EvaluateSummary {
  EvaluateProgress progress;
  bool interrupted = false;  // what was finished is kept; the same call continues
};

// Greedy answers to the raw questions, the model's own pixel limits, OCRBench's official rule.
// Throws Error(bad_input) where the results file belongs to a run with other settings.
EvaluateSummary evaluate_ocrbench(const EvaluateOptions& options, Backend& backend);

}  // namespace squint
