// awq.h: the search for smoothing factors (spec awq-w4a16.md §1.4-1.6; Lin et al., "AWQ:
// Activation-aware Weight Quantization", 2023). Knows statistics and a loss, but no model.
//
// Input channel j of the layers that share an input is multiplied by s[j] before rounding, and its
// activations are divided by s[j]: channels with large activations get finer steps.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "base/thread_pool.h"
#include "core/quantization.h"
#include "core/tensor.h"
#include "squint/quantize.h"

namespace squint::quantize {

// duo: s = mean|x|^r / mean|w|^(1-r); otherwise s = mean|x|^r.
struct Candidate {
  double ratio = 0;
  bool duo = false;
};

// The least `grid` that gives candidates other than the identity: 2 (off), 3 (on), 4 (both).
int smallest_grid(DuoScaling duo);
// In the reference's order; (0, without duo), the identity, is always the first.
std::vector<Candidate> candidates(DuoScaling duo, int grid);

// Mean over the rows of all matrices of |w| / max|w| of its group, by column. Matrices are bf16
// [rows, in] with the same `in`; arithmetic as the reference's, in bf16.
std::vector<double> weight_means(std::span<const Tensor> matrices, const QuantizationScheme& scheme,
                                 ThreadPool& threads);

// s [in] of a candidate, normalised so that sqrt(max * min) = 1. weight_mean is empty without duo.
// Channels that are always zero, or whose weights are, get 1 and do not count; the reference lets
// them shift all others.
std::vector<float> smoothing_scale(std::span<const float> activation_mean,
                                   std::span<const double> weight_mean, const Candidate& candidate);

struct Smoothing {
  Candidate candidate;
  std::vector<float> scale;
  double loss = 0;
  double identity_loss = 0;
};

// The candidate with the smallest loss, the first of equals; losses that are not finite never win.
// Throws Error(bad_input) where none is finite.
using SmoothingLoss = std::function<double(std::span<const float> scale)>;
Smoothing best_smoothing(std::span<const float> activation_mean,
                         std::span<const double> weight_mean, std::span<const Candidate> candidates,
                         const SmoothingLoss& loss);

}  // namespace squint::quantize
