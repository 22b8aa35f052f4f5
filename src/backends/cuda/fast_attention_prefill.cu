// softmax(q·k scale) v for many queries on tensor cores: 16 queries of one head to a warp, 64 keys
// at a time, the next ones on their way meanwhile. A warp keeps its queries, its output and the
// running maximum and total (m, l) of each query in registers:
//
//     m' = max(m, max_j s_j)   out = out e^(m - m') + Σ_j e^(s_j - m') v_j   l likewise
//
// Exponentials are taken to base 2. Scores of two neighbouring tiles are, as they lie in registers,
// the left factor of the product with the values.
#include "backends/cuda/fast_kernels.h"
#include "backends/cuda/mma.cuh"

namespace squint::cuda {
namespace {

constexpr int kKeys = 64;
constexpr int kKeyTiles = kKeys / 8;

// Over the four lanes of a row.
__device__ __forceinline__ float max_of_four(float x) {
  x = fmaxf(x, __shfl_xor_sync(~0u, x, 1));
  return fmaxf(x, __shfl_xor_sync(~0u, x, 2));
}
__device__ __forceinline__ float sum_of_four(float x) {
  x += __shfl_xor_sync(~0u, x, 1);
  return x + __shfl_xor_sync(~0u, x, 2);
}

// Keys or values [first, first + kKeys) of a head into rows of kDim + 8 values, which spreads
// eight rows over all banks. Zeros past the last position: what lies there may be anything.
template <int kDim, int kWarps>
__device__ void ask_for(const uint16_t* head, const FastCache& cache, int first, uint16_t* to) {
  constexpr int kVectors = kDim / 8;
  for (int i = threadIdx.x; i < kKeys * kVectors; i += 32 * kWarps) {
    const int key = i / kVectors;
    const int column = i % kVectors * 8;
    const bool inside = first + key < cache.length && column < cache.stride;
    const int64_t at = static_cast<int64_t>(first + key) * cache.stride + column;
    copy_async(to + key * (kDim + 8) + column, inside ? head + at : head, inside);
  }
}

// A warp's queries, of rows g and g + 8; zeros past the last token and the head's width.
template <int kDim>
__device__ void load_queries(const FastAttention& a, const int (&rows)[2], int c,
                             uint32_t (&q)[kDim / 16][4]) {
#pragma unroll
  for (int s = 0; s < kDim / 16; ++s) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int row = rows[i % 2];
      const int d = 16 * s + 2 * c + i / 2 * 8;
      const bool inside = row < a.slices[0].count && d < a.head_dim;
      const int64_t at =
          (static_cast<int64_t>(a.slices[0].begin + row) * a.heads + blockIdx.y) * a.head_dim + d;
      q[s][i] = inside ? bf16_pair(a.query[at], d + 1 < a.head_dim ? a.query[at + 1] : 0.0f) : 0;
    }
  }
}

template <int kDim>
__device__ __forceinline__ void multiply_keys(const uint32_t (&q)[kDim / 16][4],
                                              const uint16_t* keys, int lane,
                                              float (&s)[kKeyTiles][4]) {
  const uint16_t* own = keys + (lane / 16 * 8 + lane % 8) * (kDim + 8) + lane / 8 % 2 * 8;
#pragma unroll
  for (int k = 0; k < kDim / 16; ++k) {
#pragma unroll
    for (int pair = 0; pair < kKeyTiles / 2; ++pair) {
      uint32_t b[4];
      load_matrices(b, own + pair * 16 * (kDim + 8) + k * 16);
      multiply_add(s[2 * pair], q[k], b[0], b[1]);
      multiply_add(s[2 * pair + 1], q[k], b[2], b[3]);
    }
  }
}

template <int kDim>
__device__ __forceinline__ void multiply_values(const float (&s)[kKeyTiles][4],
                                                const uint16_t* values, int lane,
                                                float (&out)[kDim / 8][4]) {
  const uint16_t* own = values + (lane / 8 % 2 * 8 + lane % 8) * (kDim + 8) + lane / 16 * 8;
#pragma unroll
  for (int k = 0; k < kKeyTiles / 2; ++k) {
    const uint32_t p[4] = {bf16_pair(s[2 * k][0], s[2 * k][1]), bf16_pair(s[2 * k][2], s[2 * k][3]),
                           bf16_pair(s[2 * k + 1][0], s[2 * k + 1][1]),
                           bf16_pair(s[2 * k + 1][2], s[2 * k + 1][3])};
#pragma unroll
    for (int pair = 0; pair < kDim / 16; ++pair) {
      uint32_t b[4];
      load_matrices_transposed(b, own + k * 16 * (kDim + 8) + pair * 16);
      multiply_add(out[2 * pair], p, b[0], b[1]);
      multiply_add(out[2 * pair + 1], p, b[2], b[3]);
    }
  }
}

template <int kDim, int kWarps>
__global__ void __launch_bounds__(32 * kWarps, 1) prefill(const __grid_constant__ FastAttention a) {
  extern __shared__ uint4 shared[];
  constexpr int kTile = kKeys * (kDim + 8);
  auto* keys = reinterpret_cast<uint16_t*>(shared);  // two tiles
  uint16_t* values = keys + 2 * kTile;               // two tiles
  wait_for_predecessor();
  let_successor_begin();
  const FastSlice& slice = a.slices[0];
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int g = lane / 4;
  const int c = lane % 4;
  // The last queries see the most keys: they begin first.
  const int block = static_cast<int>(gridDim.x - 1 - blockIdx.x) * 16 * kWarps;
  const int first = block + static_cast<int>(threadIdx.x) / 32 * 16;
  const int rows[2] = {first + g, first + g + 8};
  const int head = static_cast<int>(blockIdx.y) / (a.heads / a.kv_heads);
  const int64_t plane = static_cast<int64_t>(head) * slice.cache.capacity * slice.cache.stride;
  const int length = slice.cache.length;
  const int end = a.causal ? min(slice.position + block + 16 * kWarps, length) : length;
  // What the first and the last query of the warp see.
  const int all_see = a.causal ? min(slice.position + first + 1, length) : length;
  const int some_see = a.causal ? min(slice.position + first + 16, length) : length;

  ask_for<kDim, kWarps>(slice.cache.keys + plane, slice.cache, 0, keys);
  ask_for<kDim, kWarps>(slice.cache.values + plane, slice.cache, 0, values);
  close_copies();
  uint32_t q[kDim / 16][4];
  load_queries<kDim>(a, rows, c, q);

  const float scale = a.scale * kLog2OfE;
  float out[kDim / 8][4] = {};
  float largest[2] = {-INFINITY, -INFINITY};
  float total[2] = {};
  int buffer = 0;
  for (int key = 0; key < end; key += kKeys, buffer ^= 1) {
    wait_for_copies<0>();
    __syncthreads();  // these have come, and the ones before them have been read
    if (key + kKeys < end) {
      ask_for<kDim, kWarps>(slice.cache.keys + plane, slice.cache, key + kKeys,
                            keys + (buffer ^ 1) * kTile);
      ask_for<kDim, kWarps>(slice.cache.values + plane, slice.cache, key + kKeys,
                            values + (buffer ^ 1) * kTile);
    }
    close_copies();
    if (key >= some_see) continue;
    float s[kKeyTiles][4] = {};
    multiply_keys<kDim>(q, keys + buffer * kTile, lane, s);
    if (key + kKeys > all_see) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int sees = a.causal ? min(slice.position + rows[i / 2] + 1, length) : length;
#pragma unroll
        for (int j = 0; j < kKeyTiles; ++j) {
          if (key + 8 * j + 2 * c + i % 2 >= sees) s[j][i] = -INFINITY;
        }
      }
    }
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float highest = s[0][2 * half];
#pragma unroll
      for (int j = 0; j < kKeyTiles; ++j) {
        highest = fmaxf(highest, fmaxf(s[j][2 * half], s[j][2 * half + 1]));
      }
      // Key 0 is seen by everyone: this is no infinity.
      const float next = fmaxf(largest[half], max_of_four(highest));
      const float shrink = two_to((largest[half] - next) * scale);
      float sum = 0;
#pragma unroll
      for (int j = 0; j < kKeyTiles; ++j) {
#pragma unroll
        for (int i = 2 * half; i < 2 * half + 2; ++i) {
          s[j][i] = two_to((s[j][i] - next) * scale);
          sum += s[j][i];
        }
      }
      total[half] = total[half] * shrink + sum;
      largest[half] = next;
#pragma unroll
      for (int d = 0; d < kDim / 8; ++d) {
        out[d][2 * half] *= shrink;
        out[d][2 * half + 1] *= shrink;
      }
    }
    multiply_values<kDim>(s, values + buffer * kTile, lane, out);
  }

#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const float inverse = 1.0f / sum_of_four(total[half]);
    if (rows[half] >= slice.count) continue;
    float* to = a.out + (static_cast<int64_t>(slice.begin + rows[half]) * a.heads + blockIdx.y) *
                            a.head_dim;
#pragma unroll
    for (int d = 0; d < kDim / 8; ++d) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int column = 8 * d + 2 * c + i;
        if (column < a.head_dim) to[column] = out[d][2 * half + i] * inverse;
      }
    }
  }
}

template <int kDim, int kWarps>
void launch(const FastAttention& a, cudaStream_t stream) {
  constexpr size_t kBytes = 4 * kKeys * (kDim + 8) * sizeof(uint16_t);
  cudaFuncSetAttribute(prefill<kDim, kWarps>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                       static_cast<int>(kBytes));
  const int queries = 16 * kWarps;
  launch_overlapped(prefill<kDim, kWarps>, a,
                    dim3(static_cast<unsigned>((a.slices[0].count + queries - 1) / queries),
                         static_cast<unsigned>(a.heads)),
                    32 * kWarps, kBytes, stream);
}

}  // namespace

void attend_prefill(const FastAttention& a, int warps, cudaStream_t stream) {
  if (a.head_dim <= 32) return launch<32, 4>(a, stream);
  if (a.head_dim <= 64) return launch<64, 8>(a, stream);
  if (a.head_dim <= 80) {
    return warps == 4    ? launch<80, 4>(a, stream)
           : warps == 12 ? launch<80, 12>(a, stream)
                         : launch<80, 8>(a, stream);
  }
  warps == 4    ? launch<kMaxHeadDim, 4>(a, stream)
  : warps == 12 ? launch<kMaxHeadDim, 12>(a, stream)
                : launch<kMaxHeadDim, 8>(a, stream);
}

}  // namespace squint::cuda
