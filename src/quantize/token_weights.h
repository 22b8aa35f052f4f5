// token_weights.h: which tokens matter to the answers, and at which layer.
//
// A change ΔY of what a linear layer puts out costs, to second order, KL(before ‖ after) = ½ E[(g
// ΔY)²], g being the gradient of ln p of an answer drawn from the model itself (the Fisher
// information). Σ g² over a token's outputs, averaged over all tokens of a class, is therefore what
// an error at such a token counts. Single tokens' values would fit the calibration rows too closely
// (docs/quality.md); a class's mean is well known from a few rows. After Kim et al., "GuidedQuant",
// 2025, which keeps every token's own.
#pragma once

#include <array>
#include <functional>
#include <optional>
#include <vector>

#include "models/qwen3_vl/model.h"
#include "quantize/activations.h"

namespace squint::quantize {

// No class counts less than that: a layer that sees answers alone sees too few tokens, and fits
// them.
inline constexpr double kLeastTokenWeight = 0.1;

class TokenWeights {
 public:
  // The same everywhere.
  TokenWeights(int64_t layers, const ClassWeights& weights);

  using Layer = std::array<ClassWeights, qwen3_vl::kLinearRoles>;
  Layer& of(int64_t layer) { return layers_[static_cast<size_t>(layer)]; }

 private:
  std::vector<Layer> layers_;
};

// Of states, for the pass below.
inline constexpr int64_t kGradientBytes = int64_t{128} << 20;

// Called with how much of the pass is done; may throw to stop.
using OnPart = std::function<void(int64_t done, int64_t total)>;

// From a gradient pass of the unquantized model over as many of the rows as states of all layers
// take `bytes`, each layer in memory once on the way up and once on the way down. The largest
// weight of a linear layer is 1. Null where no row has an answer.
std::optional<TokenWeights> measure_token_weights(Context& cx, const Activations& rows,
                                                  const qwen3_vl::Weights& weights,
                                                  const qwen3_vl::Config& config, int64_t bytes,
                                                  const OnPart& on_part);

}  // namespace squint::quantize
