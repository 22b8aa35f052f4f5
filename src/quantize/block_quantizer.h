// block_quantizer.h: one decoder layer from stored weights to packed ones.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "io/safetensors.h"
#include "models/qwen3_vl/decoder_block.h"
#include "quantize/awq.h"
#include "quantize/statistics.h"
#include "squint/quantize.h"

namespace squint::quantize {

struct BlockPlan {
  QuantizationScheme scheme;
  Observer observer = Observer::mse;
  bool smooth = true;
  DuoScaling duo = DuoScaling::on;
  int grid = 20;
  std::function<void()> on_candidate = [] {};  // may throw to stop
};

struct QuantizedBlock {
  std::vector<io::NamedTensor> tensors;  // under their names on disk
  std::vector<LinearReport> linears;
  std::vector<SmoothingReport> smoothing;
};

// `observer` is finished, or null where there is no calibration: then nothing is smoothed. Throws
// Error(bad_input) where weights are so large that their errors are no finite numbers.
QuantizedBlock quantize_block(Context& cx, const qwen3_vl::DecoderBlockWeights& stored,
                              const qwen3_vl::TextConfig& config, int64_t layer,
                              const BlockPlan& plan, const BlockObserver* observer);

}  // namespace squint::quantize
