// gptq.h: from second moments to what rounding needs (Frantar et al., "GPTQ", 2022; Chee et al.,
// "QuIP", 2023; spec awq-w4a16.md §3). Knows matrices, no model.
//
// A linear layer's output error, per token, is tr(E H Eᵀ) with E = w - ŵ and H = E[x xᵀ]. Columns
// are rounded one after the other, largest E[x²] first; each takes over what the errors before it
// can be made up with.
#pragma once

#include <functional>
#include <utility>

#include "base/thread_pool.h"
#include "ops/backend.h"

namespace squint::quantize {

// What takes long for a wide layer: on which threads, and what is called every now and then, which
// may throw to stop.
struct LongWork {
  // NOLINTNEXTLINE(google-explicit-constructor): a pool alone says all there is to say.
  LongWork(
      ThreadPool& pool, std::function<void()> between_parts = [] {})
      : threads(pool), between(std::move(between_parts)) {}

  ThreadPool& threads;
  std::function<void()> between;
};

// What is added to the diagonal: a part of its mean, as GPTQ does, and a part of each element. The
// latter shrinks all correlations to 1 / (1 + shrinkage) of what the calibration rows say: rows are
// few, and what chance correlates in them is not to be made use of (Ledoit and Wolf, "A
// well-conditioned estimator for large-dimensional covariance matrices", 2004).
struct Damping {
  double dampening = 0.01;
  double shrinkage = 0;
};

// hessian f32 [n, n], symmetric, on the host. Where H is so close to singular that this is not
// enough, more is added. Throws Error(bad_input) where nothing helps: values that are not finite.
AdaptiveRounding adaptive_rounding(const Tensor& hessian, const Damping& damping, int rounds,
                                   const LongWork& work);

// The weight whose outputs on the inputs x come closest to those of `weight` on the inputs x_f that
// the unquantized model has, as far as `strength` (0..1) of the way:
//
//     w + strength (w (C + λ)(H + λ)⁻¹ - w),   C = E[x_f xᵀ], λ = ridge * mean of H's diagonal
//
// wc = w C, f32 [out, n]. All on the host.
Tensor propagated(const Tensor& weight, const Tensor& wc, const Tensor& hessian, double strength,
                  const LongWork& work);

}  // namespace squint::quantize
