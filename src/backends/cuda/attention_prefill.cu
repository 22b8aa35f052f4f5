// softmax(q·k scale) v for many queries: 64 queries of one head in a block, 64 keys at a time, with
// a running maximum and total (m, l) for each query:
//
//     m' = max(m, max_j s_j)   out = out e^(m - m') + Σ_j e^(s_j - m') v_j   l likewise
//
// Thread (ty, tx) of 16 by 16 owns queries 4 ty .. 4 ty + 3: of the scores keys 4 tx .. 4 tx + 3,
// of the output columns tx, tx + 16, ... Keys and values take turns in the same shared memory.
#include "backends/cuda/kernels.h"

namespace squint::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kQueries = 64;
constexpr int kKeys = 64;
constexpr int kStride = kKeys + 4;  // of a transposed tile: rows begin at 16 bytes

__device__ __forceinline__ float max_of_16(float x) {
  for (int step = 8; step > 0; step /= 2) x = fmaxf(x, __shfl_xor_sync(~0u, x, step));
  return x;
}

__device__ __forceinline__ float sum_of_16(float x) {
  for (int step = 8; step > 0; step /= 2) x += __shfl_xor_sync(~0u, x, step);
  return x;
}

// to[d][query], zeros past the last token and the head's width.
template <int kDim>
__device__ void stage_queries(const AttentionLaunch& a, int64_t first, float* to) {
  const int64_t width = a.cache.head_dim;
  for (int i = threadIdx.x; i < kQueries * kDim; i += kThreads) {
    const int query = i / kDim;
    const int d = i % kDim;
    const bool inside = first + query < a.tokens && d < width;
    to[d * kStride + query] =
        inside ? a.query[((first + query) * a.heads + blockIdx.y) * width + d] : 0.0f;
  }
}

// Four values of the key or value at `position`; zeros where there is none: memory past the last
// position may hold anything.
__device__ __forceinline__ float4 cached(const float* head, const CacheView& cache,
                                         int64_t position, int d) {
  if (position >= cache.length || d >= cache.stride) return {0, 0, 0, 0};
  return __ldg(reinterpret_cast<const float4*>(head + position * cache.stride + d));
}

// to[d][key]
template <int kDim>
__device__ void stage_keys(const AttentionLaunch& a, const float* head, int64_t first, float* to) {
  for (int i = threadIdx.x; i < kKeys * (kDim / 4); i += kThreads) {
    const int key = i % kKeys;
    const int d = i / kKeys * 4;
    const float4 v = cached(head, a.cache, first + key, d);
    to[d * kStride + key] = v.x;
    to[(d + 1) * kStride + key] = v.y;
    to[(d + 2) * kStride + key] = v.z;
    to[(d + 3) * kStride + key] = v.w;
  }
}

// to[key][d]
template <int kDim>
__device__ void stage_values(const AttentionLaunch& a, const float* head, int64_t first,
                             float* to) {
  for (int i = threadIdx.x; i < kKeys * (kDim / 4); i += kThreads) {
    const int key = i / (kDim / 4);
    const int d = i % (kDim / 4) * 4;
    *reinterpret_cast<float4*>(to + key * kDim + d) = cached(head, a.cache, first + key, d);
  }
}

// s[i][j] += q_i · k_j
template <int kDim>
__device__ void add_scores(const float* queries, const float* keys, int ty, int tx,
                           float (&s)[4][4]) {
#pragma unroll 8
  for (int d = 0; d < kDim; ++d) {
    const float4 q = *reinterpret_cast<const float4*>(queries + d * kStride + 4 * ty);
    const float4 k = *reinterpret_cast<const float4*>(keys + d * kStride + 4 * tx);
    const float qs[4] = {q.x, q.y, q.z, q.w};
    const float ks[4] = {k.x, k.y, k.z, k.w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
#pragma unroll
      for (int j = 0; j < 4; ++j) s[i][j] = fmaf(qs[i], ks[j], s[i][j]);
    }
  }
}

template <int kDim>
__global__ void __launch_bounds__(kThreads) prefill(AttentionLaunch a) {
  extern __shared__ float4 shared[];
  constexpr int kColumns = kDim / 16;                 // of the output, a thread
  float* queries = reinterpret_cast<float*>(shared);  // [kDim][kStride]
  float* tile = queries + kDim * kStride;             // keys, then values
  float* weights = tile + kDim * kStride;             // [key][query]
  const int ty = static_cast<int>(threadIdx.x) / 16;
  const int tx = static_cast<int>(threadIdx.x) % 16;
  // The last queries see the most keys: they begin first.
  const int64_t first = static_cast<int64_t>(gridDim.x - 1 - blockIdx.x) * kQueries;
  const int64_t kv_head = blockIdx.y / (a.heads / a.cache.heads);
  const float* keys = a.cache.keys + kv_head * a.cache.capacity * a.cache.stride;
  const float* values = a.cache.values + kv_head * a.cache.capacity * a.cache.stride;
  int64_t visible[4];
  for (int i = 0; i < 4; ++i) {
    visible[i] =
        a.causal ? min(a.first_position + first + 4 * ty + i + 1, a.cache.length) : a.cache.length;
  }
  const int64_t end =
      a.causal ? min(a.first_position + first + kQueries, a.cache.length) : a.cache.length;
  stage_queries<kDim>(a, first, queries);

  float out[4][kColumns] = {};
  float largest[4] = {-INFINITY, -INFINITY, -INFINITY, -INFINITY};
  float total[4] = {};
  for (int64_t key = 0; key < end; key += kKeys) {
    __syncthreads();  // the last tile of values has been read
    stage_keys<kDim>(a, keys, key, tile);
    __syncthreads();
    float s[4][4] = {};
    add_scores<kDim>(queries, tile, ty, tx, s);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      float highest = -INFINITY;
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        s[i][j] = key + 4 * tx + j < visible[i] ? s[i][j] * a.scale : -INFINITY;
        highest = fmaxf(highest, s[i][j]);
      }
      // Key 0 is seen by everyone: this is no infinity.
      const float next = fmaxf(largest[i], max_of_16(highest));
      const float shrink = expf(largest[i] - next);
      float sum = 0;
#pragma unroll
      for (int j = 0; j < 4; ++j) sum += s[i][j] = expf(s[i][j] - next);
      total[i] = total[i] * shrink + sum_of_16(sum);
      largest[i] = next;
#pragma unroll
      for (int c = 0; c < kColumns; ++c) out[i][c] *= shrink;
    }
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      *reinterpret_cast<float4*>(weights + (4 * tx + j) * kStride + 4 * ty) =
          float4{s[0][j], s[1][j], s[2][j], s[3][j]};
    }
    __syncthreads();  // the keys have been read
    stage_values<kDim>(a, values, key, tile);
    __syncthreads();
#pragma unroll 4
    for (int k = 0; k < kKeys; ++k) {
      const float4 p = *reinterpret_cast<const float4*>(weights + k * kStride + 4 * ty);
      const float ps[4] = {p.x, p.y, p.z, p.w};
#pragma unroll
      for (int c = 0; c < kColumns; ++c) {
        const float v = tile[k * kDim + tx + 16 * c];
#pragma unroll
        for (int i = 0; i < 4; ++i) out[i][c] = fmaf(ps[i], v, out[i][c]);
      }
    }
  }
  const int64_t width = a.cache.head_dim;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int64_t token = first + 4 * ty + i;
    if (token >= a.tokens) break;
#pragma unroll
    for (int c = 0; c < kColumns; ++c) {
      const int d = tx + 16 * c;
      if (d < width) a.out[(token * a.heads + blockIdx.y) * width + d] = out[i][c] / total[i];
    }
  }
}

template <int kDim>
void launch(const AttentionLaunch& a, cudaStream_t stream) {
  constexpr size_t kBytes = (2 * kDim + kKeys) * kStride * sizeof(float);
  // More than 48 KB are given only to who asks; once would do, but it is remembered per device.
  cudaFuncSetAttribute(prefill<kDim>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                       static_cast<int>(kBytes));
  const dim3 blocks(static_cast<unsigned>((a.tokens + kQueries - 1) / kQueries),
                    static_cast<unsigned>(a.heads));
  prefill<kDim><<<blocks, kThreads, kBytes, stream>>>(a);
}

}  // namespace

void attention_prefill(const AttentionLaunch& a, cudaStream_t stream) {
  if (a.cache.head_dim <= 32) return launch<32>(a, stream);
  if (a.cache.head_dim <= 64) return launch<64>(a, stream);
  if (a.cache.head_dim <= 80) return launch<80>(a, stream);
  launch<kMaxHeadDim>(a, stream);
}

}  // namespace squint::cuda
