#include "quantize/quantize_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <vector>

#include "io/atomic_file.h"
#include "quantize/check_options.h"
#include "quantize/pair_statistics.h"
#include "quantize/predictions.h"
#include "quantize/statistics.h"
#include "quantize/vocabulary.h"
#include "squint/error.h"

namespace squint::quantize {

using qwen3_vl::LinearRole;

namespace {

// When the layers are finished: states of three models and a layer, or the heads.
int64_t held_out_bytes(const PlanInputs& in, int64_t layer_bytes, int64_t chunk_bytes) {
  if (in.held_out.rows == 0) return 0;
  const qwen3_vl::TextConfig& c = in.config.text;
  const auto taps = static_cast<int64_t>(in.config.vision.deepstack_blocks.size());
  const int64_t states = (3 * in.held_out.tokens + taps * in.held_out.image_tokens) * c.hidden * 4;
  const int64_t head = 2 * c.vocab * c.hidden + kLogitTokens * 3 * c.vocab * 4;
  return states + std::max(layer_bytes + chunk_bytes, head);
}

}  // namespace

QuantizePlan make_plan(const PlanInputs& in) {
  const qwen3_vl::TextConfig& c = in.config.text;
  const CalibrationSize& size = in.size;
  const bool feedback = has_feedback(in.options);
  QuantizePlan plan{.rows = size.rows,
                    .tokens = size.tokens,
                    .image_tokens = size.image_tokens,
                    .cut_rows = size.cut_rows,
                    .left_out_rows = static_cast<int64_t>(size.left_out.size()),
                    .held_out_rows = in.held_out.rows,
                    .layers = c.layers,
                    .resumed_layers = in.resumed_layers};
  const auto taps = static_cast<int64_t>(in.config.vision.deepstack_blocks.size());
  const int64_t paths = feedback ? 2 : 1;
  plan.activation_bytes = (paths * size.tokens + taps * size.image_tokens) * c.hidden * 4;
  const int64_t q = c.heads * c.head_dim;
  const int64_t weights = c.hidden * (2 * q + 2 * c.kv_heads * c.head_dim + 3 * c.intermediate);
  const int64_t largest = c.hidden * c.intermediate;
  // The layer as prepared (2 bytes a weight; with feedback also as quantized so far), its packed
  // form, one matrix with its errors, one chunk of inner activations.
  const int64_t prepared = size.rows == 0 ? 0 : feedback ? 4 : 2;
  const int64_t chunk =
      std::min(size.tokens, kChunkTokens) * (6 * c.hidden + 2 * c.intermediate + 4 * q) * 4;
  std::vector<int64_t> packed_layers(static_cast<size_t>(c.layers));
  int64_t packed = 0;
  for_each_linear(in.checkpoint, in.schemes,
                  [&](int64_t layer, LinearRole, const Shape& shape, const auto& scheme) {
                    const int64_t bytes = stored_bits(shape[0], shape[1], scheme) / 8;
                    packed_layers[static_cast<size_t>(layer)] += bytes;
                    packed += bytes;
                  });
  plan.block_bytes = weights * prepared + largest * 13 + chunk;
  if (in.options.budget) {  // Not chosen yet: a layer may get twice the bits.
    packed = static_cast<int64_t>(*in.options.budget / 8 * static_cast<double>(weights * c.layers));
    for (int64_t& bytes : packed_layers) bytes *= 2;
  }
  if (packed > 0) plan.block_bytes += std::ranges::max(packed_layers);
  if (size.rows > 0) {
    plan.statistics_bytes = 2 * InputStatistics::bytes(c.hidden) + InputStatistics::bytes(q) +
                            InputStatistics::bytes(c.intermediate);
  }
  if (feedback) {
    // The widest layer: its two moments, then H, its factor twice in float64, what rounding
    // reads, and the layer's target.
    const int64_t n = std::max({c.hidden, q, c.intermediate});
    plan.statistics_bytes += PairStatistics::bytes(n) + n * n * 24 + largest * 24;
  }
  plan.peak_bytes = in.held_out.held_bytes + size.held_bytes +
                    std::max(plan.activation_bytes + plan.block_bytes + plan.statistics_bytes,
                             held_out_bytes(in, 2 * weights + 13 * largest, chunk));
  const int64_t quantized = weights * c.layers;
  plan.output_bytes = in.checkpoint.tensor_bytes() - 2 * quantized + packed;
  for ([[maybe_unused]] const std::string& module : packed_tables(in.options)) {
    plan.output_bytes +=
        stored_bits(c.vocab, c.hidden, table_scheme(in.options)) / 8 - 2 * c.vocab * c.hidden;
  }
  // The journal still holds the packed layers while the result is written.
  plan.disk_bytes = plan.output_bytes + packed / c.layers * (c.layers - plan.resumed_layers);
  return plan;
}

void check_disk(const QuantizePlan& plan, const std::filesystem::path& output) {
  const std::filesystem::path parent = std::filesystem::absolute(output).parent_path();
  const int64_t needed = plan.disk_bytes;
  const int64_t free = io::available_bytes(parent);
  if (free < needed) {
    throw Error(ErrorCode::io,
                fmt::format("{}: the disk has {:.1f} MB free, the run needs about {:.1f} MB; make "
                            "room, then start the same command again",
                            parent.string(), static_cast<double>(free) / 1e6,
                            static_cast<double>(needed) / 1e6));
  }
}

}  // namespace squint::quantize
