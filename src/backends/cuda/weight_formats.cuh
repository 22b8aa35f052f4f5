// weight_formats.cuh: how sixteen bytes of a weight become floats.
//
// A code u becomes the float 2^23 + u by writing its bits below the exponent of 2^23; subtracting
// 2^23 + zero leaves u - zero exactly. Codes of four bits are not shifted to the lowest place: the
// one at bit 4i becomes 2^23 + 16^i u, and what is left is 16^i (u - zero), exact as well. Whoever
// multiplies takes step(i) = 16^-i into the other factor.
#pragma once

#include <cstdint>

#include "backends/cuda/kernels.h"

namespace squint::cuda {

constexpr uint32_t kTwoTo23 = 0x4b000000;

__device__ __forceinline__ uint32_t word_of(const uint4& v, int i) {
  return i == 0 ? v.x : i == 1 ? v.y : i == 2 ? v.z : v.w;
}

__device__ __forceinline__ float group_scale(uint32_t group) {
  return __uint_as_float(group & 0xffff0000u);
}

struct Float32 {
  static constexpr int kColumns = 4;  // in sixteen bytes
  static constexpr bool kInteger = false;
  struct Zero {
    __device__ explicit Zero(uint32_t) {}
  };
  __device__ static constexpr float step(int) { return 1.0f; }
  // The quad-th four columns.
  __device__ static float4 four(const uint4& v, int, const Zero&) {
    return {__uint_as_float(v.x), __uint_as_float(v.y), __uint_as_float(v.z), __uint_as_float(v.w)};
  }
};

struct Bfloat16 {
  static constexpr int kColumns = 8;
  static constexpr bool kInteger = false;
  using Zero = Float32::Zero;
  __device__ static constexpr float step(int) { return 1.0f; }
  __device__ static float4 four(const uint4& v, int quad, const Zero&) {
    const uint32_t low = word_of(v, 2 * quad);
    const uint32_t high = word_of(v, 2 * quad + 1);
    return {__uint_as_float(low << 16), __uint_as_float(low & 0xffff0000u),
            __uint_as_float(high << 16), __uint_as_float(high & 0xffff0000u)};
  }
};

struct Int8 {
  static constexpr int kColumns = 16;
  static constexpr bool kInteger = true;
  struct Zero {
    __device__ explicit Zero(uint32_t group) {
      value = __uint_as_float(kTwoTo23 | (group & 0xffffu));
    }
    float value;
  };
  __device__ static constexpr float step(int) { return 1.0f; }
  __device__ static float4 four(const uint4& v, int quad, const Zero& zero) {
    const uint32_t word = word_of(v, quad);
    return {code(word, 0x7440) - zero.value, code(word, 0x7441) - zero.value,
            code(word, 0x7442) - zero.value, code(word, 0x7443) - zero.value};
  }

 private:
  __device__ static float code(uint32_t word, uint32_t bytes) {
    return __uint_as_float(__byte_perm(word, kTwoTo23, bytes));
  }
};

struct Int4 {
  static constexpr int kColumns = 32;
  static constexpr bool kInteger = true;
  struct Zero {
    __device__ explicit Zero(uint32_t group) {
      const uint32_t z = group & 0xffffu;
      for (int i = 0; i < 4; ++i) value[i] = __uint_as_float(kTwoTo23 | (z << (4 * i)));
    }
    float value[4];
  };
  __device__ static constexpr float step(int i) {
    return i == 0 ? 1.0f : i == 1 ? 0x1p-4f : i == 2 ? 0x1p-8f : 0x1p-12f;
  }
  __device__ static float4 four(const uint4& v, int quad, const Zero& zero) {
    const uint32_t bits = word_of(v, quad / 2) >> (quad % 2 * 16);
    return {__uint_as_float((bits & 0x000fu) | kTwoTo23) - zero.value[0],
            __uint_as_float((bits & 0x00f0u) | kTwoTo23) - zero.value[1],
            __uint_as_float((bits & 0x0f00u) | kTwoTo23) - zero.value[2],
            __uint_as_float((bits & 0xf000u) | kTwoTo23) - zero.value[3]};
  }
};

// use(Float32{}), or whichever it is.
template <class Use>
auto with_format(WeightFormat format, const Use& use) {
  switch (format) {
    case WeightFormat::f32:
      return use(Float32{});
    case WeightFormat::bf16:
      return use(Bfloat16{});
    case WeightFormat::int8:
      return use(Int8{});
    case WeightFormat::int4:
      break;
  }
  return use(Int4{});
}

// Columns [column, column + 4) of a row of n; zeros past its end.
__device__ __forceinline__ float4 four_of_row(const float* row, int64_t column, int64_t n,
                                              bool aligned) {
  if (aligned && column + 4 <= n) return *reinterpret_cast<const float4*>(row + column);
  return {column < n ? row[column] : 0.0f, column + 1 < n ? row[column + 1] : 0.0f,
          column + 2 < n ? row[column + 2] : 0.0f, column + 3 < n ? row[column + 3] : 0.0f};
}

}  // namespace squint::cuda
