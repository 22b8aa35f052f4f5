// quantize.h: a checkpoint to 4-bit (or 8-bit) weights in compressed-tensors form.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "squint/backend.h"

namespace squint {

enum class QuantizeMethod : uint8_t {
  rtn,       // round to nearest
  awq,       // activation-aware smoothing, then round to nearest
  gptq,      // column after column, each taking over the errors before it
  awq_gptq,  // smoothing, then that
};

// imatrix: error weighted with E[x²] of each column; the range may also grow.
enum class RangeObserver : uint8_t { minmax, mse, imatrix };

std::string_view name(QuantizeMethod method);  // "awq+gptq", as on the command line
std::string_view name(RangeObserver observer);

struct QuantizeProgress {
  std::string phase;  // "images", "layer 3 of 28", "writing"
  int64_t done = 0;   // of total, over the whole run
  int64_t total = 0;
  double elapsed_s = 0;
};

// What a run will take, known before it starts. Bytes; peak is what the process adds to its
// resident memory, mapped pages that the kernel may drop not counted.
struct QuantizePlan {
  int64_t rows = 0;
  int64_t tokens = 0;
  int64_t image_tokens = 0;
  int64_t layers = 0;
  int64_t resumed_layers = 0;  // finished by an interrupted run
  int64_t activation_bytes = 0;
  int64_t block_bytes = 0;
  int64_t statistics_bytes = 0;
  int64_t peak_bytes = 0;
  int64_t output_bytes = 0;
  int64_t disk_bytes = 0;  // that must be free: the output, and layers the journal still lacks
};

struct QuantizeOptions {
  std::filesystem::path model;
  std::filesystem::path output;       // must not exist, or be empty
  std::filesystem::path calibration;  // calibration.jsonl or a folder with it; rtn needs none
  int64_t rows = 0;                   // the first rows only; 0: all
  QuantizeMethod method = QuantizeMethod::awq;
  std::optional<RangeObserver> observer;  // unless given, mse; imatrix with gptq
  int bits = 4;
  int64_t group_size = 128;  // columns; 0: a scale per row ("channel")
  bool symmetric = true;
  // gptq and awq_gptq only:
  double dampening = 0.01;    // part of the Hessian's mean diagonal that is added to it
  int rounds = 2;             // of descent on scales and integers after GPTQ's pass
  double propagation = 0.5;   // how much of earlier layers' error a layer makes up for, 0..1
  double image_weight = 0.3;  // what an image token counts beside a text token
  std::function<void(const QuantizePlan&)> on_plan;
  std::function<void(const QuantizeProgress&)> on_progress;
  std::stop_token stop;
};

// ‖error of the output‖ / ‖output‖ of one linear layer on the calibration set; plain is what
// rounding alone, ranges by minmax, would have given. Without calibration, of the weights.
struct LinearReport {
  std::string module;
  double error = 0;
  double plain_error = 0;
};

struct SmoothingReport {
  int64_t layer = 0;
  std::string group;  // "input_layernorm → q, k, v"
  double ratio = 0;   // 0 without duo scaling is the identity: nothing was rescaled
  bool duo = false;
  double loss = 0;           // mean squared error of the outputs
  double identity_loss = 0;  // of the same without smoothing
};

struct QuantizeReport {
  QuantizeOptions options;
  QuantizePlan plan;
  std::vector<LinearReport> linears;
  std::vector<SmoothingReport> smoothing;
  int64_t source_bytes = 0;  // of all tensors
  int64_t output_bytes = 0;
  double seconds = 0;

  std::string to_text(int width = 80) const;
  std::string to_json() const;
};

// Writes options.output whole or not at all. When interrupted (Error(interrupted)), killed or out
// of disk space, finished layers stay in OUTPUT.journal and the same call continues after them; the
// bytes written in the end are those of an undisturbed run, whatever the number of threads.
QuantizeReport quantize_checkpoint(const QuantizeOptions& options, Backend& backend);

}  // namespace squint
