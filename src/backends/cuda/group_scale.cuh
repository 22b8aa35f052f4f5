// group_scale.cuh: the scale and zero point of a group's range, each operation rounded on its own.
#pragma once

#include <cstdint>

#include "backends/cuda/quantizer_kernels.h"

namespace squint::cuda {

__device__ __forceinline__ float from_bf16(uint16_t bits) {
  return __uint_as_float(static_cast<uint32_t>(bits) << 16);
}

__device__ __forceinline__ float to_bf16(float x) {
  const uint32_t bits = __float_as_uint(x);
  return __uint_as_float((bits + 0x7fffu + ((bits >> 16) & 1u)) & 0xffff0000u);
}

struct GroupScale {
  float scale;
  float zero;
};

constexpr float kEpsilon = 0.0078125f;  // of bf16: the scale of a group of zeros

// core/quantization.h, group_parameters
__device__ inline GroupScale scale_of(const SchemeArgs& s, float low, float high) {
  low = fminf(low, 0.0f);
  high = fmaxf(high, 0.0f);
  GroupScale g{0, 0};
  if (s.symmetric) {
    const float half = (s.highest - s.lowest) / 2;
    const float further = fmaxf(-low, high);
    g.scale = to_bf16(__fdiv_rn(further, half));
    if (s.signed_scales) {
      const float nearer = fminf(-low, high);
      g.scale = to_bf16(fmaxf(__fdiv_rn(further, half + 1), __fdiv_rn(nearer, half)));
      if (high > -low) g.scale = -g.scale;
    }
  } else {
    g.scale = to_bf16(__fdiv_rn(to_bf16(__fadd_rn(high, -low)), s.highest - s.lowest));
    // 0 / 0, of a group of zeros, counts as 0; a scale that underflowed drives it to an end.
    if (g.scale != 0 || low != 0) {
      const float zero = to_bf16(__fadd_rn(s.lowest, -to_bf16(__fdiv_rn(low, g.scale))));
      g.zero = rintf(fminf(fmaxf(zero, s.lowest), s.highest));
    }
  }
  if (g.scale == 0) g.scale = kEpsilon;
  return g;
}

}  // namespace squint::cuda
