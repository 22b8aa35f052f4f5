// out = x Wᵀ + b for one to eight rows: every weight is read once, in pieces of 16 bytes.
//
//     y[r, o] = Σ_pieces scale[o, group] * Σ_k (u[o, k] - zero[o, group]) * x[r, k]
//
// A warp owns kOuts rows of W. A chunk is one piece for each of its lanes; the next chunk is asked
// for before the last one is used. The block shares x in shared memory, in the order in which lanes
// read it: [row][chunk][four columns of a piece][lane]. The lane's place is exclusive-ored with the
// number of the four, so that neither writing nor reading meets in one bank.
#include <algorithm>

#include "backends/cuda/kernels.h"
#include "backends/cuda/weight_formats.cuh"

namespace squint::cuda {
namespace {

constexpr int kWarps = 8;
constexpr int kThreads = 32 * kWarps;
constexpr int64_t kStagedBytes = 48 << 10;  // what every card gives without asking

template <class Format, int kRows>
__host__ __device__ constexpr int chunks_in_a_tile() {
  const int64_t chunk = int64_t{kRows} * 32 * Format::kColumns * 4;
  return kStagedBytes / chunk > 0 ? static_cast<int>(kStagedBytes / chunk) : 1;
}

// Chunks [first, first + count) of x, times the steps of the format.
template <class Format, int kRows>
__device__ void stage(const LinearArgs& a, int first, int count, bool aligned, float4* staged) {
  constexpr int kFours = Format::kColumns / 4;
  constexpr int kTile = chunks_in_a_tile<Format, kRows>();
  const int fours = count * 32 * kFours;
  for (int i = threadIdx.x; i < kRows * fours; i += kThreads) {
    const int r = i / fours;
    const int f = i % fours;
    float4 v = {0, 0, 0, 0};
    if (r < a.rows) {
      const int64_t column = (static_cast<int64_t>(first) * 32 * kFours + f) * 4;
      v = four_of_row(a.x + r * a.weight.in, column, a.weight.in, aligned);
    }
    v = {v.x * Format::step(0), v.y * Format::step(1), v.z * Format::step(2),
         v.w * Format::step(3)};
    const int four = f % kFours;
    const int lane = f / kFours % 32;
    const int chunk = f / (32 * kFours);
    staged[((r * kTile + chunk) * kFours + four) * 32 + (lane ^ four)] = v;
  }
}

template <class Format, int kRows, int kOuts>
__global__ void __launch_bounds__(kThreads) few_rows(LinearArgs a, bool aligned) {
  extern __shared__ float4 staged[];
  constexpr int kFours = Format::kColumns / 4;
  constexpr int kTile = chunks_in_a_tile<Format, kRows>();
  const DeviceMatrix& w = a.weight;
  const int lane = threadIdx.x % 32;
  const int64_t first = (static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / 32) * kOuts;
  const int vectors = static_cast<int>(w.row_vectors);
  const int chunks = (vectors + 31) / 32;

  const uint4* rows[kOuts];
  const uint32_t* groups[kOuts];
  for (int o = 0; o < kOuts; ++o) {
    const int64_t row = min(first + o, w.out - 1);  // what is past the end is not stored
    rows[o] = static_cast<const uint4*>(w.values) + row * w.row_vectors;
    groups[o] = w.groups + row * w.group_count;
  }
  uint4 next[kOuts];
  uint32_t next_group[kOuts];
  const auto fetch = [&](int chunk) {
    const int at = chunk * 32 + lane;
    const int group =
        at < vectors
            ? static_cast<int>(static_cast<int64_t>(at) * Format::kColumns / w.group_columns)
            : 0;
#pragma unroll
    for (int o = 0; o < kOuts; ++o) {
      next[o] = at < vectors ? __ldcs(rows[o] + at) : uint4{0, 0, 0, 0};
      next_group[o] = Format::kInteger ? groups[o][group] : 0;
    }
  };

  float sum[kRows][kOuts] = {};
  fetch(0);
  for (int tile = 0; tile < chunks; tile += kTile) {
    const int count = min(kTile, chunks - tile);
    if (tile > 0) __syncthreads();
    stage<Format, kRows>(a, tile, count, aligned, staged);
    __syncthreads();
    for (int chunk = 0; chunk < count; ++chunk) {
      uint4 piece[kOuts];
      uint32_t group[kOuts];
#pragma unroll
      for (int o = 0; o < kOuts; ++o) {
        piece[o] = next[o];
        group[o] = next_group[o];
      }
      if (tile + chunk + 1 < chunks) fetch(tile + chunk + 1);
      float part[kRows][kOuts] = {};
#pragma unroll
      for (int four = 0; four < kFours; ++four) {
        float4 weights[kOuts];
#pragma unroll
        for (int o = 0; o < kOuts; ++o) {
          weights[o] = Format::four(piece[o], four, typename Format::Zero(group[o]));
        }
#pragma unroll
        for (int r = 0; r < kRows; ++r) {
          const float4 x = staged[((r * kTile + chunk) * kFours + four) * 32 + (lane ^ four)];
#pragma unroll
          for (int o = 0; o < kOuts; ++o) {
            part[r][o] = fmaf(weights[o].x, x.x, part[r][o]);
            part[r][o] = fmaf(weights[o].y, x.y, part[r][o]);
            part[r][o] = fmaf(weights[o].z, x.z, part[r][o]);
            part[r][o] = fmaf(weights[o].w, x.w, part[r][o]);
          }
        }
      }
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
#pragma unroll
        for (int o = 0; o < kOuts; ++o) {
          sum[r][o] = Format::kInteger ? fmaf(part[r][o], group_scale(group[o]), sum[r][o])
                                       : sum[r][o] + part[r][o];
        }
      }
    }
  }
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
#pragma unroll
    for (int o = 0; o < kOuts; ++o) {
      float total = sum[r][o];
      for (int step = 16; step > 0; step /= 2) total += __shfl_xor_sync(~0u, total, step);
      if (lane != 0 || r >= a.rows || first + o >= w.out) continue;
      a.out[r * w.out + first + o] = total + (a.bias != nullptr ? a.bias[first + o] : 0.0f);
    }
  }
}

template <class Format, int kRows, int kOuts>
void launch(const LinearArgs& a, cudaStream_t stream) {
  const int64_t blocks = (a.weight.out + kWarps * kOuts - 1) / (kWarps * kOuts);
  const int64_t chunks = (a.weight.row_vectors + 31) / 32;
  const int64_t most = chunks_in_a_tile<Format, kRows>();
  // A row of x starts at its place in a whole tile, except that one row needs no whole tile.
  const int64_t staged = kRows == 1 ? std::min(chunks, most) : most * kRows;
  const int64_t bytes = staged * 32 * Format::kColumns * 4;
  const bool aligned = reinterpret_cast<uintptr_t>(a.x) % 16 == 0 && a.weight.in % 4 == 0;
  few_rows<Format, kRows, kOuts>
      <<<static_cast<unsigned>(blocks), kThreads, static_cast<size_t>(bytes), stream>>>(a, aligned);
}

// Enough blocks for every multiprocessor first, then fewer readings of x.
template <class Format, int kRows>
void launch(const LinearArgs& a, cudaStream_t stream) {
  if (a.weight.out < 4096) return launch<Format, kRows, 1>(a, stream);
  if (a.weight.out < 8192 || kRows > 2) return launch<Format, kRows, 2>(a, stream);
  launch<Format, kRows, kRows <= 2 ? 4 : 2>(a, stream);
}

template <class Format>
void launch(const LinearArgs& a, cudaStream_t stream) {
  if (a.rows == 1) return launch<Format, 1>(a, stream);
  if (a.rows == 2) return launch<Format, 2>(a, stream);
  if (a.rows <= 4) return launch<Format, 4>(a, stream);
  launch<Format, 8>(a, stream);
}

int64_t piece_columns(WeightFormat format) {
  return with_format(format, [](auto known) { return int64_t{decltype(known)::kColumns}; });
}

}  // namespace

bool few_rows_apply(const LinearArgs& a) {
  const bool whole =
      a.weight.group_count == 1 || a.weight.group_columns % piece_columns(a.weight.format) == 0;
  return a.rows <= kFewRows && whole;
}

void linear_few_rows(const LinearArgs& a, cudaStream_t stream) {
  with_format(a.weight.format, [&](auto format) { launch<decltype(format)>(a, stream); });
}

}  // namespace squint::cuda
