// softmax(q·k scale) v for many queries on tensor cores: 32 queries of one head to a warp (16 of
// short prompts), so that what is read of a key in shared memory is used twice; 64 keys at a time,
// the next ones on their way meanwhile. A warp keeps its output and the running maximum and total
// (m, l) of each query in registers:
//
//     m' = max(m, max_j s_j)   out = out e^(m - m') + Σ_j e^(s_j - m') v_j   l likewise
//
// Exponentials are taken to base 2. Scores of two neighbouring tiles are, as they lie in registers,
// the left factor of the product with the values.
#include "backends/cuda/fast_kernels.h"
#include "backends/cuda/fast_plan.h"
#include "backends/cuda/mma.cuh"

namespace squint::cuda {
namespace {

constexpr int kKeys = 64;
constexpr int kKeyTiles = kKeys / 8;
constexpr int kWarps = 4;

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
template <int kDim>
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

// Queries [first, first + count) into rows like those; zeros past the last token and the width.
template <int kDim>
__device__ void stage_queries(const FastAttention& a, int first, int count, uint16_t* to) {
  for (int i = threadIdx.x; i < count * (kDim / 2); i += 32 * kWarps) {
    const int row = i / (kDim / 2);
    const int d = i % (kDim / 2) * 2;
    const bool inside = first + row < a.slices[0].count && d < a.head_dim;
    const int64_t token = a.slices[0].begin + first + row;
    const float* from = a.query + (token * a.heads + blockIdx.x) * a.head_dim + d;
    const uint32_t pair = inside ? bf16_pair(from[0], d + 1 < a.head_dim ? from[1] : 0.0f) : 0;
    *reinterpret_cast<uint32_t*>(to + row * (kDim + 8) + d) = pair;
  }
}

// s[t] = queries of tile t, a row of shared memory each, times keys.
template <int kDim, int kTiles>
__device__ __forceinline__ void multiply_keys(const uint16_t* queries, const uint16_t* keys,
                                              int lane, float (&s)[kTiles][kKeyTiles][4]) {
  const uint16_t* own_query = queries + lane % 16 * (kDim + 8) + lane / 16 * 8;
  const uint16_t* own = keys + (lane / 16 * 8 + lane % 8) * (kDim + 8) + lane / 8 % 2 * 8;
#pragma unroll
  for (int k = 0; k < kDim / 16; ++k) {
    uint32_t q[kTiles][4];
#pragma unroll
    for (int t = 0; t < kTiles; ++t) {
      load_matrices(q[t], own_query + t * 16 * (kDim + 8) + k * 16);
    }
#pragma unroll
    for (int pair = 0; pair < kKeyTiles / 2; ++pair) {
      uint32_t b[4];
      load_matrices(b, own + pair * 16 * (kDim + 8) + k * 16);
#pragma unroll
      for (int t = 0; t < kTiles; ++t) {
        multiply_add(s[t][2 * pair], q[t], b[0], b[1]);
        multiply_add(s[t][2 * pair + 1], q[t], b[2], b[3]);
      }
    }
  }
}

template <int kDim, int kTiles>
__device__ __forceinline__ void multiply_values(const float (&s)[kTiles][kKeyTiles][4],
                                                const uint16_t* values, int lane,
                                                float (&out)[kTiles][kDim / 8][4]) {
  const uint16_t* own = values + (lane / 8 % 2 * 8 + lane % 8) * (kDim + 8) + lane / 16 * 8;
#pragma unroll
  for (int k = 0; k < kKeyTiles / 2; ++k) {
    uint32_t p[kTiles][4];
#pragma unroll
    for (int t = 0; t < kTiles; ++t) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float(&own_s)[4] = s[t][2 * k + i / 2];
        p[t][i] = bf16_pair(own_s[i % 2 * 2], own_s[i % 2 * 2 + 1]);
      }
    }
#pragma unroll
    for (int pair = 0; pair < kDim / 16; ++pair) {
      uint32_t b[4];
      load_matrices_transposed(b, own + k * 16 * (kDim + 8) + pair * 16);
#pragma unroll
      for (int t = 0; t < kTiles; ++t) {
        multiply_add(out[t][2 * pair], p[t], b[0], b[1]);
        multiply_add(out[t][2 * pair + 1], p[t], b[2], b[3]);
      }
    }
  }
}

// Scores of row g (half 0) or g + 8 (half 1) of a tile become weights; returns by how much what
// was summed before shrinks.
__device__ __forceinline__ float weigh(float (&s)[kKeyTiles][4], int half, float scale,
                                       float& largest, float& total) {
  float highest = s[0][2 * half];
#pragma unroll
  for (int j = 0; j < kKeyTiles; ++j) {
    highest = fmaxf(highest, fmaxf(s[j][2 * half], s[j][2 * half + 1]));
  }
  // Key 0 is seen by everyone: this is no infinity.
  const float next = fmaxf(largest, max_of_four(highest));
  const float shrink = two_to((largest - next) * scale);
  float sum = 0;
#pragma unroll
  for (int j = 0; j < kKeyTiles; ++j) {
#pragma unroll
    for (int i = 2 * half; i < 2 * half + 2; ++i) {
      s[j][i] = two_to((s[j][i] - next) * scale);
      sum += s[j][i];
    }
  }
  total = total * shrink + sum;
  largest = next;
  return shrink;
}

template <int kDim, int kTiles>
__global__ void __launch_bounds__(32 * kWarps, 2) prefill(const __grid_constant__ FastAttention a) {
  extern __shared__ uint4 shared[];
  constexpr int kTile = kKeys * (kDim + 8);
  constexpr int kQueries = 16 * kTiles * kWarps;
  auto* keys = reinterpret_cast<uint16_t*>(shared);  // two tiles
  uint16_t* values = keys + 2 * kTile;               // two tiles
  uint16_t* queries = values + 2 * kTile;
  wait_for_predecessor();
  const FastSlice& slice = a.slices[0];
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int g = lane / 4;
  const int c = lane % 4;
  // The last queries see the most keys: they begin first, of all heads.
  const int block = static_cast<int>(gridDim.y - 1 - blockIdx.y) * kQueries;
  const int own = static_cast<int>(threadIdx.x) / 32 * 16 * kTiles;  // of the block
  const int first = block + own;
  const int head = static_cast<int>(blockIdx.x) / (a.heads / a.kv_heads);
  const int64_t plane = static_cast<int64_t>(head) * slice.cache.capacity * slice.cache.stride;
  const int length = slice.cache.length;
  const int end = a.causal ? min(slice.position + block + kQueries, length) : length;
  // What the first and the last query of the warp see.
  const int all_see = a.causal ? min(slice.position + first + 1, length) : length;
  const int some_see = a.causal ? min(slice.position + first + 16 * kTiles, length) : length;

  ask_for<kDim>(slice.cache.keys + plane, slice.cache, 0, keys);
  ask_for<kDim>(slice.cache.values + plane, slice.cache, 0, values);
  close_copies();
  stage_queries<kDim>(a, block, kQueries, queries);

  const float scale = a.scale * kLog2OfE;
  float out[kTiles][kDim / 8][4] = {};
  float largest[kTiles][2];
  float total[kTiles][2] = {};
  for (int t = 0; t < kTiles; ++t) largest[t][0] = largest[t][1] = -INFINITY;
  int buffer = 0;
  for (int key = 0; key < end; key += kKeys, buffer ^= 1) {
    wait_for_copies<0>();
    __syncthreads();  // these have come, and the ones before them have been read
    if (key + kKeys < end) {
      ask_for<kDim>(slice.cache.keys + plane, slice.cache, key + kKeys,
                    keys + (buffer ^ 1) * kTile);
      ask_for<kDim>(slice.cache.values + plane, slice.cache, key + kKeys,
                    values + (buffer ^ 1) * kTile);
    }
    close_copies();
    if (key >= some_see) continue;
    float s[kTiles][kKeyTiles][4] = {};
    multiply_keys<kDim, kTiles>(queries + own * (kDim + 8), keys + buffer * kTile, lane, s);
    if (key + kKeys > all_see) {
#pragma unroll
      for (int t = 0; t < kTiles; ++t) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const int row = first + 16 * t + g + i / 2 * 8;
          const int sees = a.causal ? min(slice.position + row + 1, length) : length;
#pragma unroll
          for (int j = 0; j < kKeyTiles; ++j) {
            if (key + 8 * j + 2 * c + i % 2 >= sees) s[t][j][i] = -INFINITY;
          }
        }
      }
    }
#pragma unroll
    for (int t = 0; t < kTiles; ++t) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const float shrink = weigh(s[t], half, scale, largest[t][half], total[t][half]);
#pragma unroll
        for (int d = 0; d < kDim / 8; ++d) {
          out[t][d][2 * half] *= shrink;
          out[t][d][2 * half + 1] *= shrink;
        }
      }
    }
    multiply_values<kDim, kTiles>(s, values + buffer * kTile, lane, out);
  }

#pragma unroll
  for (int t = 0; t < kTiles; ++t) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float inverse = 1.0f / sum_of_four(total[t][half]);
      const int row = first + 16 * t + g + 8 * half;
      if (row >= slice.count) continue;
      float* to =
          a.out + (static_cast<int64_t>(slice.begin + row) * a.heads + blockIdx.x) * a.head_dim;
#pragma unroll
      for (int d = 0; d < kDim / 8; ++d) {
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          const int column = 8 * d + 2 * c + i;
          if (column < a.head_dim) to[column] = out[t][d][2 * half + i] * inverse;
        }
      }
    }
  }
}

template <int kDim, int kTiles>
void launch(const FastAttention& a, cudaStream_t stream) {
  constexpr int kQueries = 16 * kTiles * kWarps;
  constexpr int kBytes = prefill_bytes(kDim, kTiles);
  static_assert(kBytes == (4 * kKeys + kQueries) * (kDim + 8) * sizeof(uint16_t));
  const auto kernel = prefill<kDim, kTiles>;
  launch_overlapped(kernel, a,
                    dim3(static_cast<unsigned>(a.heads),
                         static_cast<unsigned>((a.slices[0].count + kQueries - 1) / kQueries)),
                    32 * kWarps, kBytes, stream);
}

template <int kDim>
void launch(const FastAttention& a, int tiles, cudaStream_t stream) {
  tiles == 1 ? launch<kDim, 1>(a, stream) : launch<kDim, 2>(a, stream);
}

}  // namespace

void attend_prefill(const FastAttention& a, int tiles, cudaStream_t stream) {
  switch (prefill_width(a.head_dim)) {
    case 32:
      return launch<32>(a, tiles, stream);
    case 64:
      return launch<64>(a, tiles, stream);
    case 80:
      return launch<80>(a, tiles, stream);
    default:
      return launch<kMaxHeadDim>(a, tiles, stream);
  }
}

}  // namespace squint::cuda
