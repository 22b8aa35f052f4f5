// pair_statistics.h: the inputs x of linear layers in the model as quantized so far, beside the
// inputs x_f that the unquantized model has at the same place: Σ w x xᵀ and Σ w x x_fᵀ.
#pragma once

#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "ops/ops.h"
#include "quantize/token_class.h"

namespace squint::quantize {

class PairStatistics {
 public:
  // w, of each token, is what its class counts.
  PairStatistics(Backend& backend, int64_t in, const ClassWeights& weights);

  // x, x_f f32 [tokens, in].
  void add(Context& cx, const Tensor& x, const Tensor& x_f, std::span<const TokenClass> classes);
  // Turns sums into means. x_f is divided by `smooth` [in], or left as it is where that is empty.
  // Throws Error(bad_input), naming `where`, for values that are not finite.
  void finish(Context& cx, std::span<const float> smooth, std::string_view where);

  const Tensor& hessian() const { return moment_; }     // E[x xᵀ], f32 [in, in]
  Tensor take_hessian() { return std::move(moment_); }  // which is not kept here any longer
  // w C for each of `weights` (f32 [out, in]), with C = E[x_f xᵀ], which is given up.
  std::vector<Tensor> times_cross(Context& cx, std::span<const Tensor> weights);

 private:
  ClassWeights weights_;
  double total_ = 0;
  Tensor moment_;
  Tensor cross_;
};

}  // namespace squint::quantize
