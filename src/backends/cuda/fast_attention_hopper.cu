// softmax(q·k scale) v for many queries, as fast_attention_prefill.cu computes it, with Hopper's
// products: two warpgroups take 64 queries of a head each, a third brings keys and values, 128 at a
// time, two buffers of each. Nobody waits for the block: while one warpgroup makes weights of
// scores, the other's products run.
//
// Compiled for sm_90a alone; what other cards do is decided by whoever asks hopper_attention_known.
#include "backends/cuda/fast_kernels.h"
#include "backends/cuda/fast_plan.h"
#include "backends/cuda/mma.cuh"
#include "backends/cuda/warpgroup.cuh"

namespace squint::cuda {
namespace {

constexpr int kKeys = 128;
constexpr int kQueries = kHopperQueries;
constexpr int kConsumers = 256;
constexpr int kThreads = kConsumers + 128;
constexpr int kStages = 2;

constexpr int kDim = kHopperWidth;
constexpr int kTiles = kDim / 64;  // of a row, 64 columns each

constexpr int kQueryBytes = kQueries * kDim * 2;
constexpr int kKeyBytes = kKeys * kDim * 2;
// Where the 8 columns from `column` on of a row lie, of tiles of `rows`.
__device__ __forceinline__ int place_of(int row, int column, int rows) {
  return column / 64 * rows * 128 + swizzled(row, column % 64 / 8);
}

struct Gates {
  uint64_t full[2][kStages];  // keys, values
  uint64_t empty[2][kStages];
};

constexpr int kSharedBytes =
    1024 + kQueryBytes + 2 * kStages * kKeyBytes + static_cast<int>(sizeof(Gates));

// Brings `count` rows of keys or values, zeros past the last position.
__device__ void bring(const uint16_t* head, const FastCache& cache, int first, int thread,
                      unsigned char* to) {
  constexpr int kPieces = kDim / 8;
#pragma unroll 4
  for (int i = thread; i < kKeys * kPieces; i += 128) {
    const int key = i / kPieces;
    const int column = i % kPieces * 8;
    const bool inside = first + key < cache.length && column < cache.stride;
    const int64_t at = static_cast<int64_t>(first + key) * cache.stride + column;
    copy_async(to + place_of(key, column, kKeys), inside ? head + at : head, inside);
  }
}

// Keys and values in turns; one is said to have come when the next two are asked for.
__device__ void produce(const FastCache& cache, int64_t plane, int tiles, unsigned char* buffers,
                        Gates& gates) {
  const int thread = static_cast<int>(threadIdx.x) - kConsumers;
  const int items = 2 * tiles;
  constexpr int kLate = 2;
  for (int item = 0; item < items + kLate; ++item) {
    if (item < items) {
      const int kind = item % 2;
      const int tile = item / 2;
      const int stage = tile % kStages;
      if (tile >= kStages) wait_for(&gates.empty[kind][stage], (tile / kStages - 1) & 1);
      bring((kind == 0 ? cache.keys : cache.values) + plane, cache, tile * kKeys, thread,
            buffers + (kind * kStages + stage) * kKeyBytes);
    }
    close_copies();
    if (item < kLate) continue;
    wait_for_copies<kLate>();
    show_to_products();
    arrive(&gates.full[item % 2][(item - kLate) / 2 % kStages]);
  }
}

__device__ void stage_queries(const FastAttention& a, int first, int thread, int row_of_block,
                              unsigned char* to) {
  for (int i = thread; i < 64 * (kDim / 8); i += 128) {
    const int row = i / (kDim / 8);
    const int column = i % (kDim / 8) * 8;
    const int64_t token = a.slices[0].begin + first + row;
    const float* from = a.query + (token * a.heads + blockIdx.x) * a.head_dim + column;
    const bool inside = first + row < a.slices[0].count;
    float v[8];
#pragma unroll
    for (int k = 0; k < 8; ++k) v[k] = inside && column + k < a.head_dim ? from[k] : 0.0f;
    *reinterpret_cast<uint4*>(to + place_of(row_of_block + row, column, kQueries)) = {
        bf16_pair(v[0], v[1]), bf16_pair(v[2], v[3]), bf16_pair(v[4], v[5]), bf16_pair(v[6], v[7])};
  }
}

__device__ __forceinline__ void multiply_keys(const unsigned char* queries, int row,
                                              const unsigned char* keys, float (&s)[64]) {
  begin_products();
#pragma unroll
  for (int tile = 0; tile < kTiles; ++tile) {
    const uint64_t q = tile_descriptor(queries + tile * kQueries * 128 + row * 128);
    const uint64_t k = tile_descriptor(keys + tile * kKeys * 128);
#pragma unroll
    for (int step = 0; step < 4; ++step) {
      warpgroup_multiply(s, advanced(q, 32 * step), advanced(k, 32 * step), tile + step > 0);
    }
  }
  close_products();
  wait_for_products();
  settle(s);
}

__device__ __forceinline__ float max_of_four(float x) {
  x = fmaxf(x, __shfl_xor_sync(~0u, x, 1));
  return fmaxf(x, __shfl_xor_sync(~0u, x, 2));
}
__device__ __forceinline__ float sum_of_four(float x) {
  x += __shfl_xor_sync(~0u, x, 1);
  return x + __shfl_xor_sync(~0u, x, 2);
}

// Scores of row g (half 0) or g + 8 (half 1) become weights; returns by how much what was summed
// before shrinks.
__device__ __forceinline__ float weigh(float (&s)[64], int half, float scale, float& largest,
                                       float& total) {
  float highest = s[2 * half];
#pragma unroll
  for (int j = 0; j < 16; ++j) {
    highest = fmaxf(highest, fmaxf(s[4 * j + 2 * half], s[4 * j + 2 * half + 1]));
  }
  // Key 0 is seen by everyone: this is no infinity.
  const float next = fmaxf(largest, max_of_four(highest));
  const float shrink = two_to((largest - next) * scale);
  const float base = next * scale;
  float sum = 0;
#pragma unroll
  for (int j = 0; j < 16; ++j) {
#pragma unroll
    for (int i = 2 * half; i < 2 * half + 2; ++i) {
      s[4 * j + i] = two_to(fmaf(s[4 * j + i], scale, -base));
      sum += s[4 * j + i];
    }
  }
  total = total * shrink + sum;
  largest = next;
  return shrink;
}

__device__ void consume(const FastAttention& a, int first, int row, int tiles,
                        const unsigned char* queries, const unsigned char* buffers, Gates& gates) {
  const FastSlice& slice = a.slices[0];
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int g = lane / 4;
  const int c = lane % 4;
  const int length = slice.cache.length;
  const int own = first + static_cast<int>(threadIdx.x) / 32 % 4 * 16 + g;  // and 8 more
  const auto sees = [&](int query) {
    return a.causal ? min(slice.position + query + 1, length) : length;
  };
  const int all_see = sees(first);
  const int some_see = sees(first + 63);
  const float scale = a.scale * kLog2OfE;
  float out[4 * (kDim / 8)] = {};
  float largest[2] = {-INFINITY, -INFINITY};
  float total[2] = {};
  for (int tile = 0; tile < tiles; ++tile) {
    const int stage = tile % kStages;
    const int parity = tile / kStages & 1;
    const int key = tile * kKeys;
    const bool needed = key < some_see;  // of the whole warpgroup
    float s[64];
    wait_for(&gates.full[0][stage], parity);
    if (needed) multiply_keys(queries, row, buffers + stage * kKeyBytes, s);
    if (lane == 0) arrive(&gates.empty[0][stage]);
    if (needed) {
      if (key + kKeys > all_see) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const int end = sees(own + i / 2 * 8);
#pragma unroll
          for (int j = 0; j < 16; ++j) {
            if (key + 8 * j + 2 * c + i % 2 >= end) s[4 * j + i] = -INFINITY;
          }
        }
      }
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const float shrink = weigh(s, half, scale, largest[half], total[half]);
#pragma unroll
        for (int d = 0; d < kDim / 8; ++d) {
          out[4 * d + 2 * half] *= shrink;
          out[4 * d + 2 * half + 1] *= shrink;
        }
      }
    }
    wait_for(&gates.full[1][stage], parity);
    if (needed) {
      uint32_t p[8][4];
#pragma unroll
      for (int k = 0; k < 8; ++k) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const int at = 4 * (2 * k + i / 2) + i % 2 * 2;
          p[k][i] = bf16_pair(s[at], s[at + 1]);
        }
      }
      const uint64_t values = tile_descriptor(buffers + (kStages + stage) * kKeyBytes, kKeys * 128);
      settle(out);
      begin_products();
#pragma unroll
      for (int k = 0; k < 8; ++k) warpgroup_multiply_add(out, p[k], advanced(values, k * 16 * 128));
      close_products();
      wait_for_products();
      settle(out);
    }
    if (lane == 0) arrive(&gates.empty[1][stage]);
  }
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const float inverse = 1.0f / sum_of_four(total[half]);
    const int query = own + 8 * half;
    if (query >= slice.count) continue;
    float* to =
        a.out + (static_cast<int64_t>(slice.begin + query) * a.heads + blockIdx.x) * a.head_dim;
#pragma unroll
    for (int d = 0; d < kDim / 8; ++d) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int column = 8 * d + 2 * c + i;
        if (column < a.head_dim) to[column] = out[4 * d + 2 * half + i] * inverse;
      }
    }
  }
}

__global__ void __launch_bounds__(kThreads, 1) prefill(const __grid_constant__ FastAttention a) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  extern __shared__ unsigned char anywhere[];
  // Tiles begin at 1024 bytes.
  unsigned char* const queries = anywhere + (1024 - shared_address(anywhere) % 1024) % 1024;
  unsigned char* const buffers = queries + kQueryBytes;
  Gates& gates = *reinterpret_cast<Gates*>(buffers + 2 * kStages * kKeyBytes);
  if (threadIdx.x == 0) {
    for (int kind = 0; kind < 2; ++kind) {
      for (int stage = 0; stage < kStages; ++stage) {
        make_gate(&gates.full[kind][stage], 128);
        make_gate(&gates.empty[kind][stage], kConsumers / 32);
      }
    }
  }
  __syncthreads();
  wait_for_predecessor();
  const FastSlice& slice = a.slices[0];
  // The last queries see the most keys: they begin first, of all heads.
  const int block = static_cast<int>(gridDim.y - 1 - blockIdx.y) * kQueries;
  const int head = static_cast<int>(blockIdx.x) / (a.heads / a.kv_heads);
  const int64_t plane = static_cast<int64_t>(head) * slice.cache.capacity * slice.cache.stride;
  const int length = slice.cache.length;
  const int end = a.causal ? min(slice.position + block + kQueries, length) : length;
  const int tiles = (end + kKeys - 1) / kKeys;
  if (threadIdx.x >= kConsumers) {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 40;\n");
    produce(slice.cache, plane, tiles, buffers, gates);
  } else {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 232;\n");
    const int group = static_cast<int>(threadIdx.x) / 128;
    stage_queries(a, block + 64 * group, static_cast<int>(threadIdx.x) % 128, 64 * group, queries);
    show_to_products();
    if (group == 0) asm volatile("bar.sync 1, 128;\n" ::: "memory");
    if (group == 1) asm volatile("bar.sync 2, 128;\n" ::: "memory");
    consume(a, block + 64 * group, 64 * group, tiles, queries, buffers, gates);
  }
#endif
}

}  // namespace

bool hopper_attention_known() {
#ifdef SQUINT_HOPPER
  cudaFuncAttributes attributes{};
  int device = 0;
  int major = 0;
  int minor = 0;
  cudaGetDevice(&device);
  cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device);
  cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device);
  const cudaError_t result = cudaFuncGetAttributes(&attributes, prefill);
  cudaGetLastError();
  return result == cudaSuccess && major == 9 && minor == 0;
#else
  return false;
#endif
}

void attend_prefill_hopper(const FastAttention& a, cudaStream_t stream) {
  launch_overlapped(prefill, a,
                    dim3(static_cast<unsigned>(a.heads),
                         static_cast<unsigned>((a.slices[0].count + kQueries - 1) / kQueries)),
                    kThreads, kSharedBytes, stream);
}

}  // namespace squint::cuda
