#include "quantize/quantize_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "io/atomic_file.h"
#include "quantize/check_options.h"
#include "quantize/moments.h"
#include "quantize/phases.h"
#include "quantize/predictions.h"
#include "quantize/statistics.h"
#include "quantize/token_weights.h"
#include "quantize/vocabulary.h"
#include "quantize/work_estimate.h"
#include "squint/error.h"

namespace squint::quantize {

using qwen3_vl::LinearRole;

namespace {

constexpr int64_t kFloat = 4;

// Sizes in elements.
struct Sizes {
  explicit Sizes(const qwen3_vl::TextConfig& c)
      : q(c.heads * c.head_dim),
        weights(c.hidden * (2 * q + 2 * c.kv_heads * c.head_dim + 3 * c.intermediate)),
        largest(c.hidden * std::max(c.intermediate, q)),
        widest(std::max({c.hidden, q, c.intermediate})) {}

  int64_t q;
  int64_t weights;  // of a layer
  int64_t largest;  // linear layer
  int64_t widest;   // input of one
};

struct Packed {
  int64_t all = 0;
  int64_t largest_layer = 0;
};

Packed packed_sizes(const PlanInputs& in, const Sizes& sizes) {
  std::vector<int64_t> layers(in.schemes.size());
  for_each_linear(in.checkpoint, in.schemes,
                  [&](int64_t layer, LinearRole, const Shape& shape, const auto& scheme) {
                    layers[static_cast<size_t>(layer)] +=
                        stored_bits(shape[0], shape[1], scheme) / 8;
                  });
  Packed packed;
  for (const int64_t bytes : layers) {
    packed.all += bytes;
    packed.largest_layer = std::max(packed.largest_layer, bytes);
  }
  if (in.options.budget) {  // Not chosen yet: a layer may get twice the bits.
    const auto weights = static_cast<double>(sizes.weights * in.config.text.layers);
    packed.all = static_cast<int64_t>(*in.options.budget / 8 * weights);
    packed.largest_layer *= 2;
  }
  return packed;
}

// What operators leave to each other inside a layer, for one chunk of rows.
int64_t chunk_bytes(const PlanInputs& in, const Sizes& sizes) {
  const qwen3_vl::TextConfig& c = in.config.text;
  const int64_t tokens = std::min(in.size.tokens, kChunkTokens);
  return tokens * (6 * c.hidden + 2 * c.intermediate + 4 * sizes.q) * kFloat;
}

// The vision tower, and inside of it the largest image.
int64_t vision_bytes(const PlanInputs& in) {
  if (in.size.rows == 0) return 0;
  int64_t weights = 0;
  for (const std::string& name : in.checkpoint.names()) {
    if (name.starts_with("model.visual.")) weights += in.checkpoint.find(name)->numel();
  }
  const qwen3_vl::VisionConfig& v = in.config.vision;
  const int64_t patch = 2 * v.patch_values() + 12 * v.hidden + v.intermediate;
  return weights * 2 + in.size.most_patches * patch * kFloat;
}

// A layer with its packed form while one matrix of it is rounded and compared with what it was; the
// packed form of the one before it is being written.
int64_t block_bytes(const PlanInputs& in, const Sizes& sizes, const Packed& packed) {
  // Codes and what error remains.
  const int64_t matrix = sizes.largest * (1 + kFloat);
  if (in.size.rows == 0) return matrix + 2 * packed.largest_layer;
  // Its error, and a part of that times the second moment; with feedback what is to be rounded,
  // before and after errors were made up for.
  const int64_t products =
      ((has_feedback(in.options) ? 2 : 1) * sizes.largest + kMomentColumns * 2 * sizes.widest) *
      kFloat;
  return sizes.weights * 2 + matrix + products + chunk_bytes(in, sizes) + 2 * packed.largest_layer;
}

int64_t statistics_bytes(const PlanInputs& in, const Sizes& sizes) {
  const qwen3_vl::TextConfig& c = in.config.text;
  if (in.size.rows == 0) return 0;
  const int64_t observed = 2 * InputStatistics::bytes(c.hidden) + InputStatistics::bytes(sizes.q) +
                           InputStatistics::bytes(c.intermediate);
  if (!has_feedback(in.options)) return observed;
  // Of the widest input: H, a factor, and, before there is the one, the sums with the unquantized
  // model's inputs.
  return observed + sizes.widest * sizes.widest * 2 * kFloat;
}

// Of the pass that says what tokens count: layers' inputs, a layer twice as it is and transposed,
// what its operators leave to each other, the head and some of its logits.
int64_t gradient_bytes(const PlanInputs& in, const Sizes& sizes) {
  const qwen3_vl::TextConfig& c = in.config.text;
  if (in.size.rows == 0 || !measures_tokens(in.options)) return 0;
  const int64_t states =
      std::min(kGradientBytes, in.size.tokens * (c.layers + 2) * c.hidden * kFloat);
  const int64_t head = 2 * c.vocab * c.hidden + kLogitTokens * 2 * c.vocab * kFloat;
  return states +
         std::max(4 * sizes.weights + 2 * sizes.largest + 3 * chunk_bytes(in, sizes), head);
}

// When the layers are finished: states of three models and a layer, or the heads.
int64_t held_out_bytes(const PlanInputs& in, const Sizes& sizes) {
  if (in.held_out.rows == 0) return 0;
  const qwen3_vl::TextConfig& c = in.config.text;
  const auto taps = static_cast<int64_t>(in.config.vision.deepstack_blocks.size());
  const int64_t states = (3 * in.held_out.tokens + taps * in.held_out.image_tokens) * c.hidden * 4;
  const int64_t head = 2 * c.vocab * c.hidden + kLogitTokens * 3 * c.vocab * 4;
  return states + std::max(2 * sizes.weights + 13 * sizes.largest + chunk_bytes(in, sizes), head);
}

double total_seconds(const std::vector<QuantizePlan::Phase>& phases) {
  double total = 0;
  for (const QuantizePlan::Phase& p : phases) total += p.seconds;
  return total;
}

double gigabytes(int64_t bytes) { return static_cast<double>(bytes) / 1e9; }

void check_memory(const QuantizePlan& plan, const QuantizeOptions& options) {
  if (options.memory_bytes == 0 || plan.peak_bytes <= options.memory_bytes) return;
  std::string advice;
  if (plan.peak_phase == kVisionPhase) {
    advice = "smaller images need less (--max-pixels)";
  } else if (plan.peak_phase == kGradientPhase) {
    advice = "--image-weight does without";
  } else if (plan.peak_phase == kHeldOutPhase) {
    advice = "fewer of them need less, --held-out 0 none";
  } else {
    advice = fmt::format(
        "a layer needs {:.2f}, statistics of its inputs {:.2f}, which fewer rows "
        "do not make smaller{}",
        gigabytes(plan.block_bytes), gigabytes(plan.statistics_bytes),
        has_feedback(options) ? ", but methods without gptq do" : "");
  }
  throw Error(ErrorCode::bad_input,
              fmt::format("memory: {:.2f} GB are allowed, the run needs about {:.2f} GB even with "
                          "hidden states in a file, {:.2f} of them for tokenizer and rows; most of "
                          "all for \"{}\": {}; allow {:.2f} GB",
                          gigabytes(options.memory_bytes), gigabytes(plan.peak_bytes),
                          gigabytes(plan.held_bytes), plan.peak_phase, advice,
                          gigabytes(plan.peak_bytes + 10'000'000)));
}

void check_disk(const QuantizePlan& plan, const std::filesystem::path& output) {
  // A plan alone makes no folders.
  const std::filesystem::path parent =
      io::nearest_folder(std::filesystem::absolute(output).parent_path());
  const int64_t needed = plan.disk_bytes;
  const int64_t free = io::available_bytes(parent);
  if (free >= needed) return;
  throw Error(ErrorCode::io,
              fmt::format("{}: the disk has {:.1f} MB free, the run needs about {:.1f} MB{}; make "
                          "room, then start the same command again",
                          parent.string(), static_cast<double>(free) / 1e6,
                          static_cast<double>(needed) / 1e6,
                          plan.spilled_bytes > 0
                              ? fmt::format(", {:.1f} MB of them for hidden states that memory "
                                            "may not hold",
                                            static_cast<double>(plan.spilled_bytes) / 1e6)
                              : ""));
}

}  // namespace

QuantizePlan make_plan(const PlanInputs& in) {
  const qwen3_vl::TextConfig& c = in.config.text;
  const CalibrationSize& size = in.size;
  const Sizes sizes(c);
  const Packed packed = packed_sizes(in, sizes);
  const bool paired = has_feedback(in.options);
  QuantizePlan plan{.rows = size.rows,
                    .tokens = size.tokens,
                    .image_tokens = size.image_tokens,
                    .cut_rows = size.cut_rows,
                    .left_out_rows = static_cast<int64_t>(size.left_out.size()),
                    .held_out_rows = in.held_out.rows,
                    .layers = c.layers,
                    .resumed_layers = in.resumed_layers,
                    .activation_bytes = Activations::kept_bytes(size, in.config, paired),
                    .block_bytes = block_bytes(in, sizes, packed),
                    .statistics_bytes = statistics_bytes(in, sizes),
                    .held_bytes = in.held_bytes};
  using Moment = std::pair<int64_t, std::string_view>;
  const auto [working, phase] = std::max(
      {Moment(plan.block_bytes + plan.statistics_bytes, kRoundingPhase),
       Moment(vision_bytes(in), kVisionPhase), Moment(gradient_bytes(in, sizes), kGradientPhase)});
  // The twelfth is what a heap loses between blocks of different sizes, as measured.
  const auto peak = [&, bytes = working](int64_t activations) {
    return in.held_bytes + activations + bytes + bytes / 12;
  };
  plan.peak_phase = phase;
  plan.peak_bytes = peak(plan.activation_bytes);
  const bool left = size.rows > 0 && in.resumed_layers < c.layers;
  if (in.options.memory_bytes > 0 && plan.peak_bytes > in.options.memory_bytes && left) {
    plan.spilled_bytes = Activations::file_bytes(size, in.config, paired);
    plan.peak_bytes = peak(0);
  }
  // The result is measured when nothing of the above is left.
  const int64_t afterwards = in.held_bytes + held_out_bytes(in, sizes);
  if (afterwards > plan.peak_bytes) {
    plan.peak_bytes = afterwards;
    plan.peak_phase = kHeldOutPhase;
  }
  plan.output_bytes = in.checkpoint.tensor_bytes() - 2 * sizes.weights * c.layers + packed.all;
  for ([[maybe_unused]] const std::string& module : packed_tables(in.options)) {
    plan.output_bytes +=
        stored_bits(c.vocab, c.hidden, table_scheme(in.options)) / 8 - 2 * c.vocab * c.hidden;
  }
  // The journal still holds the packed layers while the result is written.
  plan.disk_bytes = plan.output_bytes + plan.spilled_bytes +
                    packed.all / c.layers * (c.layers - plan.resumed_layers);
  const int64_t layers_bytes = 2 * sizes.weights * c.layers;
  const auto checked = static_cast<double>(in.checkpoint.tensor_bytes() - layers_bytes);
  plan.phases = estimate_phases({.options = in.options,
                                 .config = in.config,
                                 .size = size,
                                 .held_out_tokens = in.held_out.tokens,
                                 .resumed_layers = in.resumed_layers,
                                 .source_bytes = layers_bytes,
                                 .output_bytes = plan.output_bytes,
                                 .bytes_a_second = checked / std::max(in.checking_seconds, 1e-3),
                                 .reading_seconds = in.reading_seconds},
                                in.rates);
  plan.seconds = total_seconds(plan.phases);
  return plan;
}

void check_plan(const QuantizePlan& plan, const QuantizeOptions& options) {
  check_memory(plan, options);
  check_disk(plan, options.output);
}

}  // namespace squint::quantize
