// quantization.h: how integers stand for weights (spec awq-w4a16.md §2).
//
//     q = clamp(rint(w / scale + zero), lowest, highest)        w ≈ (q - zero) * scale
//
// A row of `in` weights is cut into groups of columns that share a scale and a zero point.
#pragma once

#include <cstdint>
#include <vector>

#include "core/tensor.h"

namespace squint {

struct QuantizationScheme {
  int bits = 4;              // 4 or 8
  int64_t group_size = 128;  // columns; 0: one group per row ("channel")
  bool symmetric = true;     // zero point 0
  // Symmetric only: a group's scale may be negative, so that the lowest integer, -8, stands for the
  // end that reaches further: steps are as fine as they can be with no weight in the range off by
  // more than half of one. Says how a range is chosen, not how it is stored.
  bool signed_scales = false;

  int lowest() const { return -(1 << (bits - 1)); }
  int highest() const { return (1 << (bits - 1)) - 1; }
  // cols >= 1 in the next three: the shape of a stored tensor may hold a 0.
  // A matrix narrower than a group is one group (spec §2.1).
  int64_t group_columns(int64_t cols) const {
    return group_size == 0 || group_size > cols ? cols : group_size;
  }
  int64_t groups(int64_t cols) const { return cols / group_columns(cols); }
  bool divides(int64_t cols) const { return cols % group_columns(cols) == 0; }
  friend bool operator==(const QuantizationScheme&, const QuantizationScheme&) = default;
};

// How the range of a group becomes its scale.
enum class Observer : uint8_t {
  minmax,  // the whole range
  mse,     // the best of twenty ranges, from whole to 81 %, by Σ|error|^2.4
};

// The MSE observer's constants (spec §2.5): range p = 1 - i / kMseGrid for i < kMseSteps, stopped
// after kMsePatience steps in which no group of the matrix improved. The norm 2.4 is what bf16
// makes of it, since weights are bf16.
inline constexpr int kMseSteps = 20;
inline constexpr int kMsePatience = 5;
inline constexpr float kMseGrid = 100.0f;
inline constexpr float kMseNorm = 2.40625f;

constexpr int64_t kMseErrors = 1 << 15;
// |e|^kMseNorm rounded to bf16, by the bits of every non-negative bf16 e.
std::vector<float> mse_errors();
// Steps that run before kMsePatience in a row improve no group; bit i of `improved` says that step
// i improved some.
int steps_before_patience_ends(uint32_t improved);

// One group, one value at a time: the definition that every kernel must reproduce bit for bit.
// Values are bf16 numbers held in float; every operation rounds to bf16, as the reference does.
struct GroupParameters {
  float scale = 1;
  float zero = 0;
};
GroupParameters group_parameters(float low, float high, const QuantizationScheme& scheme);
float quantize_value(float w, const GroupParameters& group, const QuantizationScheme& scheme);
float dequantize_value(float code, const GroupParameters& group);

struct QuantizedWeight {
  Tensor codes;        // i8 [out, in]
  Tensor scales;       // bf16 [out, groups]
  Tensor zero_points;  // i8 [out, groups]

  static QuantizedWeight on_host(int64_t out, int64_t in, const QuantizationScheme& scheme);
};

}  // namespace squint
