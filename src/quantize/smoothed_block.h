// smoothed_block.h: the weights of a layer while they are being rescaled, and the search for how.
#pragma once

#include <array>
#include <functional>
#include <span>
#include <vector>

#include "models/qwen3_vl/decoder_block.h"
#include "quantize/awq.h"
#include "quantize/module_schemes.h"
#include "quantize/statistics.h"
#include "squint/quantize.h"

namespace squint::quantize {

// Only factors are kept; a layer's weights are rescaled when they are asked for, in float32, and
// rounded to bf16 once, at the end.
class SmoothedBlock {
 public:
  // Keeps a reference to the weights, which are bf16.
  explicit SmoothedBlock(const qwen3_vl::DecoderBlockWeights& stored);

  // f32, or bf16, of `stored`, which is the layer's stored weight where the backend computes; there
  // too.
  Tensor linear(Context& cx, qwen3_vl::LinearRole role, const Tensor& stored) const;
  Tensor rounded(Context& cx, qwen3_vl::LinearRole role, const Tensor& stored) const;
  const Tensor& norm(qwen3_vl::NormRole role) const { return norms_[static_cast<size_t>(role)]; }
  // Factors by which the columns of a linear layer have been multiplied; empty for none.
  const std::vector<float>& columns(qwen3_vl::LinearRole role) const {
    return columns_[static_cast<size_t>(role)];
  }
  // Factors by which its rows have been divided, after that.
  const std::vector<float>& rows(qwen3_vl::LinearRole role) const {
    return rows_[static_cast<size_t>(role)];
  }

  // Divides the source's output channels by `scale` and multiplies the sinks' columns by it. Each
  // layer is a sink once and a source once.
  void apply(const qwen3_vl::SmoothGroup& group, std::vector<float> scale);

 private:
  void divide_norm(std::span<float> weight, std::span<float> scale) const;

  const qwen3_vl::DecoderBlockWeights* stored_;
  std::array<Tensor, qwen3_vl::kNormRoles> norms_;
  std::array<std::vector<float>, qwen3_vl::kLinearRoles> columns_;
  std::array<std::vector<float>, qwen3_vl::kLinearRoles> rows_;
};

// On the host; empty where there are no factors.
Tensor factors_tensor(const std::vector<float>& values);

struct SmoothingPlan {
  std::span<const qwen3_vl::SmoothGroup> groups;
  BlockSchemes schemes;
  DuoScaling duo = DuoScaling::on;
  int grid = 20;
  std::function<void()> on_candidate = [] {};  // may throw to stop
};

// Searches the factors of every group by AWQ and applies them. Groups whose sinks stay in BF16 have
// nothing to gain and are left as they are.
std::vector<SmoothingReport> smooth_block(Context& cx, const qwen3_vl::DecoderBlockWeights& stored,
                                          int64_t layer, const SmoothingPlan& plan,
                                          const BlockObserver& observer, SmoothedBlock& block);

}  // namespace squint::quantize
