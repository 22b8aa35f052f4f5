// Weights in the layouts of fast mode, and both factors of a product of matrices as bf16.
#include <algorithm>

#include "backends/cuda/block_sum.cuh"
#include "backends/cuda/fast_kernels.h"
#include "backends/cuda/mma.cuh"
#include "backends/cuda/weight_formats.cuh"

namespace squint::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kSteps = 4;                // of 16 columns in a tile
constexpr uint32_t kBf16Of128 = 0x4300;  // whose lowest bits count ones

unsigned blocks_for(int64_t n) { return static_cast<unsigned>((n + kThreads - 1) / kThreads); }

int64_t whole(int64_t n, int64_t of) { return (n + of - 1) / of; }

// Columns 16 c .. 16 c + 15 of a row of four bits each, as two words; zeros past the end.
__device__ uint2 sixteen(const DeviceMatrix& w, int64_t row, int64_t column) {
  if (row >= w.out || column / 32 >= w.row_vectors) return {0, 0};
  const auto* words = static_cast<const uint2*>(w.values);
  return words[row * w.row_vectors * 2 + column / 16];
}

// A thread a lane's sixteen bytes.
__global__ void tile_kernel(DeviceMatrix from, int64_t pieces, int64_t count, uint4* to) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= count) return;
  const int64_t lane = i % 32;
  const int64_t piece = i / 32 % pieces;
  const int64_t row = i / 32 / pieces * kTileRows + lane / 4;
  const int64_t column = piece * kTileColumns + lane % 4 * 16;
  const uint2 low = sixteen(from, row, column);
  const uint2 high = sixteen(from, row + 8, column);
  uint32_t words[kSteps];
  for (int s = 0; s < kSteps; ++s) {
    const uint32_t g = (s < 2 ? low.x : low.y) >> (s % 2 * 16);
    const uint32_t h = (s < 2 ? high.x : high.y) >> (s % 2 * 16);
    const auto nibble = [](uint32_t bits, int at) { return bits >> (4 * at) & 0xf; };
    uint32_t word = 0;
    for (int pair = 0; pair < 2; ++pair) {  // which half of the bf16 pairs
      for (int two = 0; two < 2; ++two) {   // columns 0, 1 or 2, 3
        const int shift = 16 * pair + 8 * two;
        word |= nibble(g, 2 * two + pair) << shift | nibble(h, 2 * two + pair) << (shift + 4);
      }
    }
    words[s] = word;
  }
  to[i] = {words[0], words[1], words[2], words[3]};
}

__global__ void tile_groups_kernel(DeviceMatrix from, int64_t count, uint32_t* to) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= count) return;
  const int64_t group = i / kTileRows % from.group_count;
  const int64_t row = i / kTileRows / from.group_count * kTileRows + i % kTileRows;
  to[i] = (row < from.out ? from.groups[row * from.group_count + group] : 0) | kBf16Of128;
}

struct Unpack {
  FastMatrix weight;
  int64_t first;
  int64_t count;
  int64_t stride;
  int64_t units;  // threads with something to do
  uint16_t* out;
};

// Eight values beginning at `column`: those from `in` on become zero.
__device__ void store_eight(const Unpack& u, int64_t row, int64_t column, const float (&v)[8]) {
  if (column >= u.stride) return;
  const int64_t in = u.weight.rows.in;
  uint32_t pairs[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    pairs[i] = bf16_pair(column + 2 * i < in ? v[2 * i] : 0.0f,
                         column + 2 * i + 1 < in ? v[2 * i + 1] : 0.0f);
  }
  *reinterpret_cast<uint4*>(u.out + row * u.stride + column) = {pairs[0], pairs[1], pairs[2],
                                                                pairs[3]};
}

// A warp a tile: a lane's sixteen bytes are sixteen columns of two rows, which go through shared
// memory so that whole lines are written.
__global__ void __launch_bounds__(kThreads) unpack_tiles(Unpack u) {
  __shared__ uint4 staged[kThreads / 32][kTileRows][9];  // 128 bytes of a row, and room
  const DeviceMatrix& w = u.weight.rows;
  const int pieces = static_cast<int>((w.in + kTileColumns - 1) / kTileColumns);
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int piece = static_cast<int>(blockIdx.x * (kThreads / 32) + threadIdx.x / 32);
  if (piece >= pieces) return;
  const int64_t tile = u.first / kTileRows + blockIdx.y;
  const uint4 words =
      __ldcs(static_cast<const uint4*>(w.values) + (tile * pieces + piece) * 32 + lane);
  const uint32_t* groups =
      w.groups + (tile * w.group_count + (piece >> u.weight.group_shift)) * kTileRows;
  uint4(&own)[kTileRows][9] = staged[threadIdx.x / 32];
#pragma unroll
  for (int half = 0; half < 2; ++half) {  // rows g and g + 8
    const uint32_t group = groups[lane / 4 + 8 * half];
    const float scale = group_scale(group);
    const float zero = __uint_as_float(kTwoTo23 | (group & 0xfu));
#pragma unroll
    for (int eight = 0; eight < 2; ++eight) {
      uint32_t pairs[4];
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        const uint32_t word = word_of(words, 2 * eight + k / 2) >> (k % 2 * 8 + half * 4);
        pairs[k] = bf16_pair((__uint_as_float(kTwoTo23 | (word & 0xfu)) - zero) * scale,
                             (__uint_as_float(kTwoTo23 | (word >> 16 & 0xfu)) - zero) * scale);
      }
      own[lane / 4 + 8 * half][lane % 4 * 2 + eight] = {pairs[0], pairs[1], pairs[2], pairs[3]};
    }
  }
  __syncwarp();
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int row = lane / 8 + 4 * i;
    const int64_t at = static_cast<int64_t>(blockIdx.y) * kTileRows + row;
    const int64_t column = piece * kTileColumns + lane % 8 * 8;
    if (at >= u.count || column >= u.stride) continue;
    uint4 v = own[row][lane % 8];
    if (column + 8 > w.in) {
      uint32_t* pairs = &v.x;
      for (int k = 0; k < 8; ++k) {
        if (column + k >= w.in) pairs[k / 2] &= k % 2 == 0 ? 0xffff0000u : 0x0000ffffu;
      }
    }
    *reinterpret_cast<uint4*>(u.out + at * u.stride + column) = v;
  }
}

// A thread sixteen bytes of a row. Groups are cut at multiples of four columns.
template <class Format>
__global__ void unpack_rows(Unpack u) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= u.units) return;
  const DeviceMatrix& w = u.weight.rows;
  const int64_t row = i / w.row_vectors;
  const int64_t vector = i % w.row_vectors;
  const int64_t from = u.first + row;
  const uint4 bytes = static_cast<const uint4*>(w.values)[from * w.row_vectors + vector];
#pragma unroll
  for (int eight = 0; eight < Format::kColumns / 8; ++eight) {
    float v[8];
#pragma unroll
    for (int four = 0; four < 2; ++four) {
      const int64_t column = vector * Format::kColumns + eight * 8 + four * 4;
      const int64_t index = min(column, w.in - 1) / w.group_columns;
      const uint32_t group = w.groups[from * w.group_count + index];
      const float scale = group_scale(group);
      const float4 x = Format::four(bytes, 2 * eight + four, typename Format::Zero(group));
      v[4 * four] = x.x * (scale * Format::step(0));
      v[4 * four + 1] = x.y * (scale * Format::step(1));
      v[4 * four + 2] = x.z * (scale * Format::step(2));
      v[4 * four + 3] = x.w * (scale * Format::step(3));
    }
    store_eight(u, row, vector * Format::kColumns + eight * 8, v);
  }
}

__device__ __forceinline__ float gated(float x, float up) { return x / (1.0f + __expf(-x)) * up; }

// x σ(2 sqrt(2/pi) (x + 0.044715 x³))
__device__ __forceinline__ float gelu(float x) {
  return x / (1.0f + __expf(-1.5957691216057308f * fmaf(x * x * x, 0.044715f, x)));
}

// A block a row.
template <bool kAligned>
__global__ void round_kernel(RoundArgs a) {
  __shared__ float parts[32];
  wait_for_predecessor();
  const float* x = a.x + blockIdx.x * a.n;
  auto* out = static_cast<uint16_t*>(a.out) + blockIdx.x * a.stride;
  const int64_t step = int64_t{blockDim.x} * 4;
  const auto sum_row = [&](auto term) {
    float sum = 0;
    for (int64_t i = threadIdx.x * 4; i < a.n; i += step) {
      const float4 v = four_of_row(x, i, a.n, kAligned);
      sum += term(v.x, i) + term(v.y, i + 1) + term(v.z, i + 2) + term(v.w, i + 3);
    }
    return block_sum(sum, parts) / static_cast<float>(a.n);
  };
  float mean = 0;
  float inverse = 1;
  if (a.norm_bias != nullptr) mean = sum_row([](float v, int64_t) { return v; });
  if (a.norm != nullptr) {
    // What a row is padded with differs from the mean, too.
    const float squares =
        sum_row([&](float v, int64_t i) { return i < a.n ? (v - mean) * (v - mean) : 0.0f; });
    inverse = 1.0f / sqrtf(squares + a.eps);
  }
  for (int64_t i = threadIdx.x * 4; i < a.stride; i += step) {
    float4 v = four_of_row(x, i, a.n, kAligned);
    if (a.norm != nullptr) {
      const float4 w = four_of_row(a.norm, i, a.n, kAligned);
      float4 b = {0, 0, 0, 0};
      if (a.norm_bias != nullptr) b = four_of_row(a.norm_bias, i, a.n, kAligned);
      v = {fmaf((v.x - mean) * inverse, w.x, b.x), fmaf((v.y - mean) * inverse, w.y, b.y),
           fmaf((v.z - mean) * inverse, w.z, b.z), fmaf((v.w - mean) * inverse, w.w, b.w)};
    } else if (a.gelu) {
      v = {gelu(v.x), gelu(v.y), gelu(v.z), gelu(v.w)};
    }
    *reinterpret_cast<uint2*>(out + i) = {bf16_pair(v.x, v.y), bf16_pair(v.z, v.w)};
  }
}

__global__ void gate_fours(float4* gate, const float4* up, int64_t fours) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= fours) return;
  const float4 x = gate[i];
  const float4 y = up[i];
  gate[i] = {gated(x.x, y.x), gated(x.y, y.y), gated(x.z, y.z), gated(x.w, y.w)};
}

__device__ __forceinline__ uint32_t gated_pair(uint32_t gate, uint32_t up) {
  return bf16_pair(gated(low_float(gate), low_float(up)), gated(high_float(gate), high_float(up)));
}

__global__ void gate_eights(uint4* gate, const uint4* up, int64_t eights) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= eights) return;
  const uint4 x = gate[i];
  const uint4 y = up[i];
  gate[i] = {gated_pair(x.x, y.x), gated_pair(x.y, y.y), gated_pair(x.z, y.z),
             gated_pair(x.w, y.w)};
}

}  // namespace

void tile_int4(const DeviceMatrix& from, void* values, uint32_t* groups, cudaStream_t stream) {
  const int64_t tiles = whole(from.out, kTileRows);
  const int64_t pieces = whole(from.in, kTileColumns);
  const int64_t lanes = tiles * pieces * 32;
  tile_kernel<<<blocks_for(lanes), kThreads, 0, stream>>>(from, pieces, lanes,
                                                          static_cast<uint4*>(values));
  const int64_t words = tiles * from.group_count * kTileRows;
  tile_groups_kernel<<<blocks_for(words), kThreads, 0, stream>>>(from, words, groups);
}

void unpack_to_bf16(const FastMatrix& weight, int64_t first, int64_t count, int64_t stride,
                    void* out, cudaStream_t stream) {
  Unpack u{weight, first, count, stride, 0, static_cast<uint16_t*>(out)};
  if (weight.tiled) {
    const dim3 blocks(blocks_for(whole(weight.rows.in, kTileColumns) * 32),
                      static_cast<unsigned>(whole(count, kTileRows)));
    unpack_tiles<<<blocks, kThreads, 0, stream>>>(u);
    return;
  }
  u.units = count * weight.rows.row_vectors;
  if (weight.rows.format == WeightFormat::int4) {
    unpack_rows<Int4><<<blocks_for(u.units), kThreads, 0, stream>>>(u);
  } else {
    unpack_rows<Int8><<<blocks_for(u.units), kThreads, 0, stream>>>(u);
  }
}

void round_to_bf16(const RoundArgs& a, cudaStream_t stream) {
  const auto address = reinterpret_cast<uintptr_t>(a.x) | reinterpret_cast<uintptr_t>(a.norm) |
                       reinterpret_cast<uintptr_t>(a.norm_bias);
  const bool aligned = address % 16 == 0 && a.n % 4 == 0;
  const int threads = static_cast<int>(std::clamp<int64_t>(whole(a.n, 128) * 32, 32, 512));
  launch_overlapped(aligned ? round_kernel<true> : round_kernel<false>, a,
                    dim3(static_cast<unsigned>(a.rows)), threads, 0, stream);
}

void gate_values(float* gate, const float* up, int64_t n, cudaStream_t stream) {
  const auto address = reinterpret_cast<uintptr_t>(gate) | reinterpret_cast<uintptr_t>(up);
  if (address % 16 != 0 || n % 4 != 0) {
    return pointwise(Pointwise::swiglu, gate, up, gate, n, stream);
  }
  gate_fours<<<blocks_for(n / 4), kThreads, 0, stream>>>(
      reinterpret_cast<float4*>(gate), reinterpret_cast<const float4*>(up), n / 4);
}

void gate_bf16(void* gate, const void* up, int64_t n, cudaStream_t stream) {
  gate_eights<<<blocks_for(n / 8), kThreads, 0, stream>>>(static_cast<uint4*>(gate),
                                                          static_cast<const uint4*>(up), n / 8);
}

}  // namespace squint::cuda
