// statistics.h: what a layer's linear weights see on the calibration set: Σ|x| and Σ x xᵀ.
#pragma once

#include <array>
#include <vector>

#include "models/qwen3_vl/decoder_block.h"
#include "ops/ops.h"

namespace squint::quantize {

// Of the input x [tokens, in] of one or several linear layers.
class InputStatistics {
 public:
  InputStatistics() = default;
  InputStatistics(Backend& backend, int64_t in);

  void add(Context& cx, const Tensor& x);
  // Turns sums into means; add() must not be called afterwards. Throws Error(bad_input), naming
  // `where`, for values that are not finite.
  void finish(Context& cx, std::string_view where);

  std::vector<float> abs_mean() const;                                // E|x|, [in]
  const std::vector<float>& square_mean() const { return squares_; }  // E[x²], [in]
  // H = E[x xᵀ], f32 [in, in], where the backend keeps things.
  const Tensor& moment() const { return moment_; }
  // Σ_r e_r H e_rᵀ with H = E[x xᵀ]: the summed squared error of the outputs of a layer whose
  // weight is off by `error` [out, in], per token. Exact up to rounding for one linear layer.
  double output_error(Context& cx, const Tensor& error) const;

  static int64_t bytes(int64_t in) { return in * in * 4 + in * 4; }

 private:
  Tensor abs_sum_;
  Tensor moment_;
  std::vector<float> squares_;
  int64_t tokens_ = 0;
};

// Fills the statistics of a block's four inputs: those of q, k, v; of o; of gate, up; of down.
class BlockObserver : public LinearObserver {
 public:
  BlockObserver(Context& cx, const qwen3_vl::DecoderBlock& block);

  void saw(const LinearWeight& weight, const Tensor& x) override;
  void finish(int64_t layer);

  const InputStatistics& of(qwen3_vl::LinearRole role) const;

 private:
  Context cx_;  // without an observer: statistics are computed with operators too
  const qwen3_vl::DecoderBlock& block_;
  std::array<InputStatistics, qwen3_vl::kLinearRoles> inputs_;  // only the first of each input used
};

}  // namespace squint::quantize
