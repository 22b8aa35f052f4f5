// quantize.h: a checkpoint to 4-bit (or 8-bit) weights in compressed-tensors form.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "squint/backend.h"
#include "squint/divergence.h"

namespace squint {

enum class QuantizeMethod : uint8_t {
  rtn,       // round to nearest
  awq,       // activation-aware smoothing, then round to nearest
  gptq,      // column after column, each taking over the errors before it
  awq_gptq,  // smoothing, then that
};

// imatrix: error weighted with E[x²] of each column; the range may also grow. clip: the error of
// the group's part of the outputs on the calibration set.
enum class RangeObserver : uint8_t { minmax, mse, imatrix, clip };

// What the search for AWQ's factors also goes by: the weights' sizes.
enum class DuoScaling : uint8_t { off, on, both };

// What a user who names nothing else gets; docs/quality.md has what each costs and brings.
enum class QuantizePreset : uint8_t { fast, balanced, best };

std::string_view name(QuantizeMethod method);  // "awq+gptq", as on the command line
std::string_view name(RangeObserver observer);
std::string_view name(DuoScaling duo);

struct QuantizeProgress {
  std::string phase;  // "images", "layer 3 of 28", "writing"
  int64_t done = 0;   // of total, over the whole run
  int64_t total = 0;
  double elapsed_s = 0;
};

// What a run will take, known before it starts. Bytes; peak is what the process adds to its
// resident memory, mapped pages that the kernel may drop not counted.
struct QuantizePlan {
  struct Phase {
    std::string name;  // as in RunReport
    double seconds = 0;
  };
  int64_t rows = 0;
  int64_t tokens = 0;
  int64_t image_tokens = 0;
  int64_t cut_rows = 0;       // longer than calibration_tokens: without their end
  int64_t left_out_rows = 0;  // empty, or begin with an image of more tokens
  int64_t held_out_rows = 0;  // beside `rows`: to measure the result with
  int64_t layers = 0;
  int64_t resumed_layers = 0;  // finished by an interrupted run
  int64_t activation_bytes = 0;
  int64_t block_bytes = 0;
  int64_t statistics_bytes = 0;
  int64_t held_bytes = 0;  // by what has been read: tokenizer, rows
  int64_t peak_bytes = 0;
  std::string peak_phase;  // as RunReport names it: what needs peak_bytes
  int64_t output_bytes = 0;
  int64_t spilled_bytes =
      0;                   // on disk instead of in memory: hidden states, where memory_bytes asks
  int64_t disk_bytes = 0;  // that must be free: the output, spilled_bytes, layers not finished yet
  double seconds = 0;      // about, where nothing else takes the machine's time
  std::vector<Phase> phases;
  std::vector<std::string> notes;  // what options ask for that the model has no place for

  std::string to_json() const;
};

// calibration.jsonl or another file of conversations in JSON lines, a .parquet table of them, a
// .txt, an image, or a folder of these.
struct CalibrationSource {
  std::filesystem::path path;
  double weight = 1;  // of the rows that are drawn, beside the other sources' weights
};

inline constexpr int kMostJoined = 100;

struct ImageQuestion {
  std::string bytes;  // the encoded image
  std::string name;   // for messages
  std::string prompt;
  double temperature = 0;  // at which the answer is drawn, as `seed` has it; 0: the most likely one
  uint64_t seed = 0;
};
// Asks a model about an image and returns its answer; the same one every time.
using ReadImage = std::function<std::string(const ImageQuestion& question)>;
inline constexpr std::string_view kReadingPrompt = "what is written in the image?";

// Layers whose scheme differs. q, k and v of a layer must stay alike, and gate and up: loaders fuse
// them.
struct SchemeOverride {
  std::string pattern;  // a full name, or "re:" and an expression that matches from its start
  int bits = 8;         // 4, 8, or 16: left in BF16
  std::optional<int64_t> group_size = std::nullopt;  // unless given, as of all others
};

// One of AWQ's mappings. Layers are named as compressed-tensors does it: by their full name, or
// "re:" and a regular expression that matches from its start.
struct SmoothMapping {
  std::string smooth_layer;
  std::vector<std::string> balance_layers;

  bool operator==(const SmoothMapping&) const = default;
};

struct QuantizeOptions {
  std::filesystem::path model;
  std::filesystem::path output;                // must not exist, or be empty
  std::vector<CalibrationSource> calibration;  // rtn needs none
  int64_t rows = 0;                            // of all sources together; 0: all there are
  std::optional<uint64_t> seed;    // draw rows as NumPy's permutation does, not the first ones
  int64_t calibration_tokens = 0;  // of the longest row; 0: any, plain text in rows of 512
  // Rows with answers to measure the result with, which no layer is calibrated on. Unless given, a
  // tenth of them, at most 64; none where that would be fewer than 8.
  std::optional<int64_t> held_out;
  // Further rows for each row that asks about one image: parts of two images beside each other.
  int joined = 0;
  ReadImage read_image;  // asked where calibration images have no answers, and about joined ones
  QuantizeMethod method = QuantizeMethod::awq_gptq;
  std::optional<RangeObserver> observer;  // unless given, mse; imatrix with gptq
  int bits = 4;
  int64_t group_size = 128;  // columns; 0: a scale per row ("channel")
  bool symmetric = true;
  // 4 bits, symmetric: scales may be negative, so that -8 .. 7 reaches further where the weights
  // do.
  bool signed_scales = true;
  std::vector<SchemeOverride> overrides;  // the last that matches wins
  // The head and the token embeddings: 8, in symmetric groups, rounded to nearest, or 16: left in
  // BF16. Not every loader reads them packed (docs/recipes.md).
  int head_bits = 16;
  int embedding_bits = 16;
  // Average bits of a weight in the text layers, scales and zero points counted: layers that no
  // override names get 4, 8 or 16 bits by what they lose. `bits` must be 4.
  std::optional<double> budget;
  // Which linear layers; "Linear" is every one. Of the text layers it must be all; the vision
  // tower is left alone in any case, and so is the head but for head_bits.
  std::vector<std::string> targets = {"Linear"};
  std::vector<std::string> ignore = {"re:.*lm_head", "re:.*visual.*"};
  // awq and awq_gptq only:
  DuoScaling duo_scaling = DuoScaling::on;
  int grid = 20;                        // factors tried; at least 2 (off), 3 (on), 4 (both)
  std::vector<SmoothMapping> mappings;  // empty: all that the model allows
  // gptq and awq_gptq only:
  double dampening = 0.01;   // part of the Hessian's mean diagonal that is added to it
  double shrinkage = 0.2;    // part of each diagonal element that is added to it as well
  int rounds = 2;            // of descent on scales and integers after GPTQ's pass
  double propagation = 0.5;  // how much of earlier layers' error a layer makes up for, 0..1
  // What an image token counts beside a text token, 0..1. Unless given, tokens count as the answers
  // depend on them: measured by a gradient pass.
  std::optional<double> image_weight;
  // The most that plan.peak_bytes may be; 0: any. Where hidden states are too many they stand in a
  // file without a name beside the output. The bytes written do not depend on it.
  int64_t memory_bytes = 0;
  std::function<void(const QuantizePlan&)> on_plan;
  std::function<void(const QuantizeProgress&)> on_progress;
  std::stop_token stop;
};

// Sets how weights are rounded: method, observer and what belongs to the method.
void apply_preset(QuantizePreset preset, QuantizeOptions& options);

// Sets what a recipe of llm-compressor says, also one that squint wrote (docs/recipes.md): method,
// observer, scheme and what belongs to them. Rows, seed, calibration_tokens and held_out only where
// `options` leave them open. Returns notes: keys that make no difference here. Throws
// Error(bad_input) for what llm-compressor would not take either, Error(unsupported) for what
// squint cannot do.
std::vector<std::string> apply_recipe(const std::filesystem::path& file, QuantizeOptions& options);

// ‖error of the output‖ / ‖output‖ of one linear layer on the calibration set; plain is what
// rounding alone, ranges by minmax, would have given. Without calibration, of the weights.
struct LinearReport {
  std::string module;
  double error = 0;
  double plain_error = 0;
  int bits = 4;  // 16: left in BF16
};

// What layers that share an input, and so their bits, would lose, and what a budget gave them.
struct SensitivityReport {
  int64_t layer = 0;
  std::string unit;   // "q, k, v"
  double loss_4 = 0;  // Σ (‖error of the output‖ / ‖output‖)² at 4 bits, without feedback
  double loss_8 = 0;
  int bits = 4;
};

struct SmoothingReport {
  int64_t layer = 0;
  std::string group;  // "input_layernorm → q, k, v"
  double ratio = 0;   // 0 without duo scaling is the identity: nothing was rescaled
  bool duo = false;
  double loss = 0;           // mean squared error of the outputs
  double identity_loss = 0;  // of the same without smoothing
  bool rolled_back = false;  // after all: with it the layer was worse than plainly rounded
};

// Scales of quantized groups, counted by floor(2 log2(scale)): two bins to a factor of two.
using ScaleHistogram = std::map<int, int64_t>;

// How far predictions on calibration rows that were held out are from the unquantized model's.
struct HeldOutReport {
  int64_t rows = 0;
  TokenDivergence quantized;
  std::optional<TokenDivergence> plain;  // of rounding alone, ranges by minmax
};

struct FileHash {
  std::string name;
  int64_t bytes = 0;
  std::string sha256;
};

// What another run of the same thing may change: the report has it in one place.
struct RunReport {
  struct Phase {
    std::string name;
    double seconds = 0;
  };
  std::string finished;  // "2026-01-31 23:59:59 UTC"
  std::string backend;
  std::string kernels;
  int threads = 0;
  double seconds = 0;
  std::vector<Phase> phases;   // in the order in which they were entered first
  int64_t memory_bytes = 0;    // the most that plan.peak_bytes was seen to be, between steps
  int64_t resident_bytes = 0;  // the process's peak, mapped pages counted
};

struct QuantizeReport {
  QuantizeOptions options;
  QuantizePlan plan;
  std::string architecture;  // config.json's model_type
  std::string recipe;        // recipe.yaml
  std::vector<LinearReport> linears;
  std::vector<SmoothingReport> smoothing;
  std::vector<SensitivityReport> sensitivity;  // with a budget
  ScaleHistogram scales;
  std::optional<HeldOutReport> held_out;
  int64_t parameters = 0;
  int64_t source_bytes = 0;  // of all tensors
  int64_t output_bytes = 0;
  int64_t layers_source_bytes = 0;  // of the quantized layers' tensors
  int64_t layers_output_bytes = 0;
  double bits_per_weight = 0;     // in these layers, scales and zero points counted
  std::string model_hash;         // tells checkpoints apart; a hash of config.json and of samples
  std::string calibration_hash;   // of what the model sees: token ids and pixels
  std::string options_hash;       // sha256 of `recipe`
  std::vector<FileHash> outputs;  // by name; without report.json and report.html
  RunReport run;

  std::string to_text(int width = 80) const;
  std::string to_json() const;  // report.json; docs/formats/quantize-report.md
  std::string to_html() const;  // report.html: one page that loads nothing
};

// Writes options.output, with report.json and report.html in it, whole or not at all. When
// interrupted (Error(interrupted)), killed or out of disk space, finished layers stay in
// OUTPUT.journal and the same call continues after them; the bytes written in the end are those of
// an undisturbed run, whatever the number of threads.
QuantizeReport quantize_checkpoint(const QuantizeOptions& options, Backend& backend);

// What that would take. Writes nothing, asks read_image nothing, and throws what would stop the run
// before its first layer.
QuantizePlan plan_quantization(const QuantizeOptions& options, Backend& backend);

}  // namespace squint
