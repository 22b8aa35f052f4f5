// out = x Wᵀ + b for any number of rows: tiles of tokens by 128 outputs in shared memory, float32
// throughout. A tile of W is unpacked on its way there: no copy of the layer in floats is made.
//
// A thread owns some tokens and 8 outputs. The sum of an output runs over k in order, whatever the
// size of the tile.
#include "backends/cuda/kernels.h"
#include "backends/cuda/weight_formats.cuh"

namespace squint::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kOuts = 128;
constexpr int kDepth = 32;  // columns of x and W in shared memory at once: a piece of int4
constexpr int kOutStride = kOuts + 4;

// w[k][o] of columns [first, first + kDepth).
template <class Format>
__device__ void stage_weight(const DeviceMatrix& w, int64_t first_out, int64_t first,
                             float (*to)[kOutStride]) {
  constexpr int kPieces = kDepth / Format::kColumns;
  for (int i = threadIdx.x; i < kOuts * kPieces; i += kThreads) {
    const int o = i % kOuts;
    const int piece = i / kOuts;
    const int64_t row = first_out + o;
    const int64_t at = first / Format::kColumns + piece;
    const bool inside = row < w.out && at < w.row_vectors;
    const uint4 v = inside ? __ldg(static_cast<const uint4*>(w.values) + row * w.row_vectors + at)
                           : uint4{0, 0, 0, 0};
#pragma unroll
    for (int four = 0; four < Format::kColumns / 4; ++four) {
      const int k = piece * Format::kColumns + 4 * four;
      // One group for all four: groups are cut at multiples of four, or the slow way is taken.
      uint32_t group = 0;
      if (Format::kInteger && inside && first + k < w.in) {
        group = __ldg(w.groups + row * w.group_count + (first + k) / w.group_columns);
      }
      float4 x = Format::four(v, four, typename Format::Zero(group));
      if (Format::kInteger) {
        const float scale = group_scale(group);
        x = {x.x * (scale * Format::step(0)), x.y * (scale * Format::step(1)),
             x.z * (scale * Format::step(2)), x.w * (scale * Format::step(3))};
      }
      to[k][o] = x.x;
      to[k + 1][o] = x.y;
      to[k + 2][o] = x.z;
      to[k + 3][o] = x.w;
    }
  }
}

template <class Format, int kTokens>
__global__ void __launch_bounds__(kThreads) many_rows(LinearArgs a, bool aligned) {
  constexpr int kOwn = kTokens / 16;  // tokens of a thread
  __shared__ __align__(16) float x[kDepth][kTokens + 4];
  __shared__ __align__(16) float w[kDepth][kOutStride];
  const int64_t in = a.weight.in;
  const int64_t first_token = static_cast<int64_t>(blockIdx.x) * kTokens;
  const int64_t first_out = static_cast<int64_t>(blockIdx.y) * kOuts;
  const int own_token = threadIdx.x / 16 * kOwn;
  const int own_out = threadIdx.x % 16 * 4;  // and the four 64 further on

  float sum[kOwn][8] = {};
  for (int64_t k0 = 0; k0 < in; k0 += kDepth) {
    for (int i = threadIdx.x; i < kTokens * (kDepth / 4); i += kThreads) {
      const int t = i % kTokens;
      const int k = i / kTokens * 4;
      float4 v = {0, 0, 0, 0};
      if (first_token + t < a.rows) {
        v = four_of_row(a.x + (first_token + t) * in, k0 + k, in, aligned);
      }
      x[k][t] = v.x;
      x[k + 1][t] = v.y;
      x[k + 2][t] = v.z;
      x[k + 3][t] = v.w;
    }
    stage_weight<Format>(a.weight, first_out, k0, w);
    __syncthreads();
#pragma unroll 8
    for (int k = 0; k < kDepth; ++k) {
      float own_x[kOwn];
#pragma unroll
      for (int t = 0; t < kOwn; ++t) own_x[t] = x[k][own_token + t];
      const float4 low = *reinterpret_cast<const float4*>(&w[k][own_out]);
      const float4 high = *reinterpret_cast<const float4*>(&w[k][own_out + 64]);
      const float own_w[8] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
#pragma unroll
      for (int t = 0; t < kOwn; ++t) {
#pragma unroll
        for (int o = 0; o < 8; ++o) sum[t][o] = fmaf(own_x[t], own_w[o], sum[t][o]);
      }
    }
    __syncthreads();
  }
#pragma unroll
  for (int t = 0; t < kOwn; ++t) {
    const int64_t token = first_token + own_token + t;
    if (token >= a.rows) break;
#pragma unroll
    for (int o = 0; o < 8; ++o) {
      const int64_t out = first_out + own_out + o % 4 + o / 4 * 64;
      if (out >= a.weight.out) continue;
      a.out[token * a.weight.out + out] = sum[t][o] + (a.bias != nullptr ? a.bias[out] : 0.0f);
    }
  }
}

template <class Format, int kTokens>
void launch(const LinearArgs& a, cudaStream_t stream) {
  const bool aligned = reinterpret_cast<uintptr_t>(a.x) % 16 == 0 && a.weight.in % 4 == 0;
  const dim3 blocks(static_cast<unsigned>((a.rows + kTokens - 1) / kTokens),
                    static_cast<unsigned>((a.weight.out + kOuts - 1) / kOuts));
  many_rows<Format, kTokens><<<blocks, kThreads, 0, stream>>>(a, aligned);
}

template <class Format>
void launch(const LinearArgs& a, cudaStream_t stream) {
  if (a.rows <= 32) return launch<Format, 32>(a, stream);
  launch<Format, 128>(a, stream);
}

}  // namespace

void linear_many_rows(const LinearArgs& a, cudaStream_t stream) {
  with_format(a.weight.format, [&](auto format) { launch<decltype(format)>(a, stream); });
}

}  // namespace squint::cuda
