// pair_statistics.h: the inputs x of linear layers in the model as quantized so far, beside the
// inputs x_f that the unquantized model has at the same place: Σ w x xᵀ and Σ w x x_fᵀ.
#pragma once

#include <string_view>

#include "ops/ops.h"

namespace squint::quantize {

class PairStatistics {
 public:
  PairStatistics(Backend& backend, int64_t in);

  // x, x_f f32 [tokens, in]; root_weight f32 [tokens]: the square root of what each token counts.
  void add(Context& cx, const Tensor& x, const Tensor& x_f, const Tensor& root_weight);
  // Turns sums into means: `weight` is the sum of all tokens' weights. x_f is divided by `smooth`
  // [in], or left as it is where that is empty. Throws Error(bad_input), naming `where`, for values
  // that are not finite.
  void finish(Context& cx, double weight, std::span<const float> smooth, std::string_view where);

  const Tensor& hessian() const { return moment_; }  // E[x xᵀ], f32 [in, in], on the host
  // w C, with C = E[x_f xᵀ]: f32 [out, in] on the host.
  Tensor times_cross(Context& cx, const Tensor& weight) const;

  static int64_t bytes(int64_t in) { return 2 * in * in * 4; }

 private:
  Tensor moment_;
  Tensor cross_;
  LinearWeight prepared_cross_;
};

}  // namespace squint::quantize
