#include "core/quantization.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace squint {

GroupParameters group_parameters(float low, float high, const QuantizationScheme& scheme) {
  // The range always contains 0, so that zero weights stay exactly zero.
  low = std::min(low, 0.0f);
  high = std::max(high, 0.0f);
  const auto steps = static_cast<float>(scheme.highest() - scheme.lowest());
  const auto lowest = static_cast<float>(scheme.lowest());
  const auto highest = static_cast<float>(scheme.highest());
  GroupParameters group;
  if (scheme.symmetric) {
    const float further = std::max(-low, high);
    group.scale = round_to_bf16(further / (steps / 2));
    if (scheme.signed_scales) {
      group.scale =
          round_to_bf16(std::max(further / (steps / 2 + 1), std::min(-low, high) / (steps / 2)));
      if (high > -low) group.scale = -group.scale;
    }
  } else {
    group.scale = round_to_bf16(round_to_bf16(high - low) / steps);
    const float zero = round_to_bf16(lowest - round_to_bf16(low / group.scale));
    group.zero = std::isnan(zero) ? 0.0f : std::nearbyint(std::clamp(zero, lowest, highest));
  }
  constexpr float kEpsilon = 0.0078125f;  // of bf16
  if (group.scale == 0) group.scale = kEpsilon;
  return group;
}

float quantize_value(float w, const GroupParameters& group, const QuantizationScheme& scheme) {
  const float t = round_to_bf16(round_to_bf16(w / group.scale) + group.zero);
  return std::nearbyint(
      std::clamp(t, static_cast<float>(scheme.lowest()), static_cast<float>(scheme.highest())));
}

float dequantize_value(float code, const GroupParameters& group) {
  return round_to_bf16(round_to_bf16(code - group.zero) * group.scale);
}

QuantizedWeight QuantizedWeight::on_host(int64_t out, int64_t in,
                                         const QuantizationScheme& scheme) {
  const int64_t groups = scheme.groups(in);
  return {.codes = Tensor::on_host(DType::i8, {out, in}),
          .scales = Tensor::on_host(DType::bf16, {out, groups}),
          .zero_points = Tensor::on_host(DType::i8, {out, groups})};
}

std::vector<float> mse_errors() {
  std::vector<float> table(static_cast<size_t>(kMseErrors));
  for (uint32_t bits = 0; bits < table.size(); ++bits) {
    table[bits] = round_to_bf16(std::pow(std::bit_cast<float>(bits << 16), kMseNorm));
  }
  return table;
}

int steps_before_patience_ends(uint32_t improved) {
  int stale = 0;
  for (int step = 0; step < kMseSteps; ++step) {
    stale = ((improved >> step) & 1) != 0 ? 0 : stale + 1;
    if (stale == kMsePatience) return step + 1;
  }
  return kMseSteps;
}

}  // namespace squint
