// gptq.h: from second moments to what rounding needs (Frantar et al., "GPTQ", 2022; Chee et al.,
// "QuIP", 2023; spec awq-w4a16.md §3). Knows matrices, no model.
//
// A linear layer's output error, per token, is tr(E H Eᵀ) with E = w - ŵ and H = E[x xᵀ]. Columns
// are rounded one after the other, largest E[x²] first; each takes over what the errors before it
// can be made up with.
//
// A layer of an 8B has a H of 0.6 GB: what is made of it takes its memory where it can. Matrices
// are f32 and where the backend computes; `between` is called every now and then, and may throw to
// stop.
#pragma once

#include <span>

#include "ops/ops.h"

namespace squint::quantize {

// What is added to the diagonal: a part of its mean, as GPTQ does, and a part of each element. The
// latter shrinks all correlations to 1 / (1 + shrinkage) of what the calibration rows say: rows are
// few, and what chance correlates in them is not to be made use of (Ledoit and Wolf, "A
// well-conditioned estimator for large-dimensional covariance matrices", 2004).
struct Damping {
  double dampening = 0.01;
  double shrinkage = 0;
};

// hessian [n, n], symmetric, becomes a part of what is returned, damped. Where H is so close to
// singular that this is not enough, more is added. Throws Error(bad_input) where nothing helps:
// values that are not finite.
AdaptiveRounding adaptive_rounding(Context& cx, Tensor hessian, const Damping& damping, int rounds,
                                   const Between& between);

// Each of `targets` [out, n], w C before, becomes the weight whose outputs on the inputs x come
// closest to those of w = weights[i] on the inputs x_f that the unquantized model has, as far as
// `strength` (0..1) of the way:
//
//     w + strength (w (C + λ)(H + λ)⁻¹ - w),   C = E[x_f xᵀ], λ = ridge * mean of H's diagonal
void propagate(Context& cx, const Tensor& hessian, std::span<const Tensor> weights,
               std::span<const Tensor> targets, double strength, const Between& between);

}  // namespace squint::quantize
