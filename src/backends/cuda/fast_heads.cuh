// fast_heads.cuh: a head of a token in the lanes of a warp: normalised, rotated, put into a cache.
#pragma once

#include "backends/cuda/block_sum.cuh"
#include "backends/cuda/fast_kernels.h"
#include "backends/cuda/mma.cuh"

namespace squint::cuda {

// Values i and i + half side by side, lane + 32 j being i. An odd width has one in the middle,
// which is never rotated.
struct HeadInLanes {
  static constexpr int kPairs = static_cast<int>(kMaxHeadDim) / 2 / 32;
  float x[kPairs];
  float y[kPairs];

  __device__ void load(const float* from, int width, int lane) {
    const int half = (width + 1) / 2;
    for (int j = 0; j < kPairs; ++j) {
      const int i = lane + 32 * j;
      x[j] = i < half ? from[i] : 0.0f;
      y[j] = i < half && i + half < width ? from[i + half] : 0.0f;
    }
  }

  __device__ void normalise_and_rotate(const HeadsOfStep& h, const float* norm, int64_t token,
                                       int width, int lane) {
    const int half = width / 2;
    float squares = 0;
    for (int j = 0; j < kPairs; ++j) squares = fmaf(x[j], x[j], fmaf(y[j], y[j], squares));
    const float mean = warp_sum(squares) / static_cast<float>(width);
    const float inverse = 1.0f / sqrtf(mean + h.eps);
    for (int j = 0; j < kPairs; ++j) {
      const int i = lane + 32 * j;
      if (i >= half) continue;
      const float u = x[j] * inverse * norm[i];
      const float v = y[j] * inverse * norm[i + half];
      const float c = h.cosine[token * half + i];
      const float s = h.sine[token * half + i];
      x[j] = u * c - v * s;
      y[j] = v * c + u * s;
    }
  }

  // put(i, value) of each.
  template <class Put>
  __device__ void each(int width, int lane, const Put& put) const {
    const int half = (width + 1) / 2;
    for (int j = 0; j < kPairs; ++j) {
      const int i = lane + 32 * j;
      if (i >= half) continue;
      put(i, x[j]);
      if (i + half < width) put(i + half, y[j]);
    }
  }

  __device__ void store(uint16_t* plane, const FastCache& cache, int head, int position, int width,
                        int lane) const {
    const int64_t at = (static_cast<int64_t>(head) * cache.capacity + position) * cache.stride;
    each(width, lane, [&](int i, float value) {
      *reinterpret_cast<__nv_bfloat16*>(plane + at + i) = __float2bfloat16_rn(value);
    });
  }
};

// Key and value of head `head` of a token, by one warp, into the cache.
__device__ __forceinline__ void append_head(const HeadsOfStep& h, bool key, int64_t token,
                                            int kv_heads, int head, int width,
                                            const FastCache& cache, int position, int lane) {
  HeadInLanes own;
  own.load((key ? h.key : h.value) + (token * kv_heads + head) * width, width, lane);
  if (key && h.key_norm != nullptr) {
    own.normalise_and_rotate(h, h.key_norm, token, width, lane);
  }
  own.store(key ? cache.keys : cache.values, cache, head, position, width, lane);
}

}  // namespace squint::cuda
