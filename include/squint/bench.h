// bench.h: how fast checkpoints are on this machine, side by side.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "squint/backend.h"
#include "squint/doctor.h"

namespace squint {

struct BenchProgress {
  int64_t done = 0;  // steps, of total
  int64_t total = 0;
  std::string note;  // "round 2: models/reader, decode at 512"
};

struct BenchOptions {
  std::vector<std::filesystem::path> models;        // 1 to 8
  int rounds = 5;                                   // 1 to 1000
  std::vector<int64_t> prefill = {128, 512, 2048};  // tokens of a prompt; may be empty
  std::vector<int64_t> depth = {0, 512, 2048};      // tokens before those that are generated
  int64_t generate = 32;                            // tokens of each answer, 2 or more
  int64_t image_width = 1024;                       // pixels; 0 by 0: no image
  int64_t image_height = 1024;
  std::function<void(const BenchProgress&)> on_progress;
  std::stop_token stop;
};

// One quantity of one model, a value for each round.
struct BenchMeasure {
  std::string name;   // as in JSON: "decode_512_tokens_per_second"
  std::string title;  // as in tables: "decode at 512"
  std::string unit;   // "s", "ms", "MB", "tokens/s", "J"
  std::vector<double> values;
  double median = 0;
  double lowest = 0;
  double highest = 0;
  // Of what the machine was measured to do, at the median: 1 is all of it.
  enum class Limit : uint8_t { none, bandwidth, arithmetic };
  Limit limit = Limit::none;
  double share = 0;
  double work = 0;  // bytes or operations that `share` counts: a token, a prompt, an image
};

struct BenchModel {
  std::filesystem::path model;
  std::string name;                // the folder's; told apart where two are alike
  int64_t stored_bytes = 0;        // of the checkpoint's tensors
  int64_t parameters = 0;          // of its matrices; a tied head is the embedding
  int64_t token_weight_bytes = 0;  // weights that one generated token reads, as they are prepared
  int64_t image_tokens = 0;        // 0: without an image
  std::vector<BenchMeasure> measures;
  std::vector<std::string> skipped;  // what was asked for and is not possible, a sentence each
  // What came out differently in a later round, a sentence each: a broken machine or program.
  std::vector<std::string> differences;
};

struct BenchReport {
  MachineReport machine;
  int rounds = 0;
  int64_t generate = 0;
  int64_t image_width = 0;
  int64_t image_height = 0;
  bool energy = false;  // could be read
  std::vector<BenchModel> models;

  bool same_tokens() const;  // in every round, of every model
  std::string to_json() const;
  // Lines of at most `width` columns, as long as names of folders allow it.
  std::string to_text(int width = 80) const;
  std::string to_markdown() const;
};

// Throws Error(usage) for options out of range, Error(interrupted) when asked to stop, and what
// Engine throws.
BenchReport run_benchmark(const BenchOptions& options, Backend& backend);

}  // namespace squint
