// ocrbench.h: asks a model the questions of a benchmark.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "squint/backend.h"
#include "squint/engine.h"

namespace squint {

struct EvaluateProgress {
  int64_t done = 0;     // rows in the results file
  int64_t total = 0;    // rows of the run
  int64_t resumed = 0;  // of done: finished by an earlier run
  int64_t hits = 0;
  int64_t errors = 0;
  double elapsed_s = 0;  // of this process
};

// How questions are asked (spec ocrbench-data-hubs.md §1.5):
//   model     as the model's own processor does: raw question, greedy, 256 tokens
//   greedy    the same with images of 102,400 pixels at least
//   official  as OCRBench's scripts: raw question, greedy, 100 tokens
//   lmms      as lmms-eval: stripped question, greedy, 128 tokens
//   vlmeval   as VLMEvalKit: sampled (0.7, 20, 0.8, presence 1.5), 2048 tokens, 102,400 pixels
enum class EvaluationProtocol : uint8_t { model, greedy, official, lmms, vlmeval };

struct EvaluateOptions {
  std::filesystem::path model;
  std::filesystem::path data;      // a file or a folder, as eval/ocrbench.h finds it
  std::filesystem::path results;   // results.jsonl; continued where it exists
  int64_t limit = 0;               // the first rows only, of the types asked for; 0: all
  std::vector<std::string> types;  // question types, upper or lower case; empty: all
  bool strip_questions = false;
  std::string prompt_suffix;  // behind each question, after a line break
  // Areas that images are resized to; the model's own limits where not given.
  std::optional<int64_t> min_pixels;
  std::optional<int64_t> max_pixels;
  int64_t max_tokens = 256;
  Sampling sampling{.temperature = 0};  // the seed of each row is this and its place in the data
  // On the CPU answers do not depend on it; on a card a near tie may fall otherwise. 0: up to 8, as
  // far as their caches take half a gigabyte.
  int64_t rows_at_once = 0;
  std::function<void(const EvaluateProgress&)> on_progress;
  std::stop_token stop;
};

// Sets all that a protocol says.
void apply_protocol(EvaluationProtocol protocol, EvaluateOptions& options);

struct EvaluateSummary {
  EvaluateProgress progress;
  bool interrupted = false;  // what was finished is kept; the same call continues
};

// Greedy answers to the raw questions, unless told otherwise with the model's own pixel limits, and
// OCRBench's official rule; everything that influences a score stands in the header of the results.
// Throws Error(usage) for a type that no row has, Error(bad_input) where the results file belongs
// to a run with other settings.
EvaluateSummary evaluate_ocrbench(const EvaluateOptions& options, Backend& backend);

}  // namespace squint
