// block_quantizer.h: one decoder layer from stored weights to packed ones.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "io/safetensors.h"
#include "models/qwen3_vl/decoder_block.h"
#include "quantize/awq.h"
#include "quantize/gptq.h"
#include "quantize/module_schemes.h"
#include "quantize/pair_statistics.h"
#include "quantize/statistics.h"
#include "squint/quantize.h"

namespace squint::quantize {

// Rounding with feedback; see gptq.h.
struct FeedbackPlan {
  Damping damping;
  int rounds = 2;            // of descent on scales and integers
  double propagation = 0.5;  // how much of the error of earlier layers is made up for
  std::array<ClassWeights, qwen3_vl::kLinearRoles> tokens{};  // what they count, by linear layer
};

struct BlockPlan {
  BlockSchemes schemes;
  Observer observer = Observer::mse;
  bool smooth = true;
  std::vector<std::vector<qwen3_vl::SmoothGroup>> groups;  // to smooth, by layer
  bool weighted_ranges = false;                            // by E[x²], instead of `observer`
  bool clipped_ranges = false;  // by E[x xᵀ], instead of `observer`; without feedback
  std::optional<FeedbackPlan> feedback;
  DuoScaling duo = DuoScaling::on;
  int grid = 20;
  std::function<void()> on_candidate = [] {};  // may throw to stop
};

struct QuantizedBlock {
  std::vector<io::NamedTensor> tensors;  // under their names on disk
  std::vector<LinearReport> linears;
  std::vector<SmoothingReport> smoothing;
  ScaleHistogram scales;
};

// Adds the inputs of `role` in `block`, the layer as quantized so far, and in the unquantized model
// to each of `pairs`.
using PairedInputs =
    std::function<void(const qwen3_vl::DecoderBlock& block, qwen3_vl::LinearRole role,
                       std::span<PairStatistics> pairs)>;

// `observer` is finished, or null where there is no calibration: then nothing is smoothed. `inputs`
// is needed where the plan has feedback. Throws Error(bad_input) where weights are so large that
// their errors are no finite numbers.
QuantizedBlock quantize_block(Context& cx, const qwen3_vl::DecoderBlockWeights& stored,
                              const qwen3_vl::TextConfig& config, int64_t layer,
                              const BlockPlan& plan, const BlockObserver* observer,
                              const PairedInputs& inputs);

}  // namespace squint::quantize
