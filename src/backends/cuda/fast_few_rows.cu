// Products of one to eight rows on tensor cores: 16 outputs by 16 columns of the weight are the
// left factor, x the right one, its rows the columns of the product.
//
//     y[r, o] = Σ_pieces scale[o, group] * Σ_k (u[o, k] - zero[o, group]) * x[r, k]
//
// Eight rows cost what one costs: the weight's bytes. Each warp owns a range of columns of the
// block's slice and asks for its pieces several ahead, across tiles, into a ring of its own in
// shared memory; it asks for the first ones before the kernel in front has ended. x waits, rounded
// to bf16, for the whole block. What columns are split over is joined in an order that sizes
// decide: warps in shared memory, slices by whichever block ends last.
#include <algorithm>
#include <type_traits>

#include "backends/cuda/block_sum.cuh"
#include "backends/cuda/fast_formats.cuh"
#include "backends/cuda/fast_kernels.h"
#include "backends/cuda/fast_plan.h"
#include "backends/cuda/mma.cuh"

namespace squint::cuda {
namespace {

constexpr int kWarps = kFewRowsWarps;
constexpr int kThreads = 32 * kWarps;

struct Launch {
  FewRowsArgs a;
  FewRowsPlan plan;
  int tiles;                     // of all outputs
  int first_tile[kMostOutputs];  // of each; more than there are where there is none
  int pieces;                    // of 64 columns
  bool aligned;                  // rows of x begin at sixteen bytes
};

__device__ __forceinline__ float4 four_of_x(const float* row, int column, int n, bool aligned) {
  if (aligned && column + 4 <= n) return *reinterpret_cast<const float4*>(row + column);
  return {column < n ? row[column] : 0.0f, column + 1 < n ? row[column + 1] : 0.0f,
          column + 2 < n ? row[column + 2] : 0.0f, column + 3 < n ? row[column + 3] : 0.0f};
}

// Warps for each row of x, a power of two.
__device__ __forceinline__ int warps_of_row(int rows) {
  return rows == 1 ? kWarps : rows == 2 ? kWarps / 2 : rows <= 4 ? kWarps / 4 : kWarps / 8;
}

// What of x is in shared memory: bf16 [rows, stride], then zeros for lanes without a row, then, of
// formats that need it, Σ x of each unit [units][8], as the products see it.
struct StagedX {
  __nv_bfloat16* values;
  int stride;
  __nv_bfloat16* zeros;
  float* unit_sums;
};

// Columns [first, first + columns) of x, times the norm's weight. What the norm divides by is taken
// into the sums later: each warp leaves its share of Σ x² in squares. A warp takes 128 columns at a
// time: one unit, or two.
template <class Format>
__device__ void stage_x(const Launch& l, int first, int columns, float* squares,
                        const StagedX& to) {
  constexpr int kColumns = 64 * Format::kPieces;
  const int threads = warps_of_row(l.a.rows) * 32;
  const int row = static_cast<int>(threadIdx.x) / threads;
  const int at = static_cast<int>(threadIdx.x) % threads * 4;
  if (threadIdx.x < kColumns / 8) reinterpret_cast<uint4*>(to.zeros)[threadIdx.x] = {0, 0, 0, 0};
  if (row >= l.a.rows) return;
  const float* x = l.a.x + static_cast<int64_t>(row) * l.a.in;
  const bool normed = l.a.norm != nullptr;
  float sum = 0;
  // A slice needs the squares of the whole row. Whole warps go on or stop.
  const int begin = normed ? 0 : first;
  const int end = normed ? max(l.a.in, first + columns) : first + columns;
  const int past = begin + (end - begin + 127) / 128 * 128;
#pragma unroll 4
  for (int i = begin + at; i < past; i += threads * 4) {
    float4 v = four_of_x(x, i, l.a.in, l.aligned);
    if (normed) {
      sum = fmaf(v.x, v.x, fmaf(v.y, v.y, fmaf(v.z, v.z, fmaf(v.w, v.w, sum))));
      const float4 w = four_of_x(l.a.norm, i, l.a.in, l.aligned);
      v = {v.x * w.x, v.y * w.y, v.z * w.z, v.w * w.w};
    }
    const uint2 pairs{bf16_pair(v.x, v.y), bf16_pair(v.z, v.w)};
    const bool inside = i >= first && i < first + columns;
    if (inside) *reinterpret_cast<uint2*>(to.values + row * to.stride + i - first) = pairs;
    if constexpr (Format::kShifted) {
      float four =
          low_float(pairs.x) + high_float(pairs.x) + low_float(pairs.y) + high_float(pairs.y);
      for (int step = kColumns / 8; step > 0; step /= 2) {
        four += __shfl_xor_sync(~0u, four, step);
      }
      if (inside && i % kColumns == 0) to.unit_sums[(i - first) / kColumns * 8 + row] = four;
    }
  }
  if (!normed) return;
  sum = warp_sum(sum);
  if (threadIdx.x % 32 == 0) squares[threadIdx.x / 32] = sum;
}

__device__ float inverse_norm(const Launch& l, int row, const float* squares) {
  if (l.a.norm == nullptr) return 1;
  const int warps = warps_of_row(l.a.rows);
  float sum = 0;
  for (int i = 0; i < warps; ++i) sum += squares[row * warps + i];
  return 1.0f / sqrtf(sum / static_cast<float>(l.a.in) + l.a.eps);
}

// The warps that share a tile: kTeam of a block. Each thread stores some of a tile's values: number
// v is row v % 16 of the tile and row v / 16 of x.
template <int kTeam>
__device__ __forceinline__ void wait_for_team(int team) {
  if (kTeam == kWarps) return __syncthreads();
  // Known numbers: a number in a register would claim all sixteen barriers.
  if (team == 0) asm volatile("bar.sync 1, %0;\n" ::"n"(kTeam * 32) : "memory");
  if (team == 1) asm volatile("bar.sync 2, %0;\n" ::"n"(kTeam * 32) : "memory");
  if (kTeam == 8) return;
  if (team == 2) asm volatile("bar.sync 3, %0;\n" ::"n"(kTeam * 32) : "memory");
  if (team == 3) asm volatile("bar.sync 4, %0;\n" ::"n"(kTeam * 32) : "memory");
}

template <int kStreams>
struct Place {
  float* out;              // null: nothing
  float before[kStreams];  // what is added to the sums: bias, and what was there
  __device__ Place(const Launch& l, int tile, int thread) : out(nullptr) {
    if (thread >= 16 * l.a.rows) return;
    const int index = kStreams == 2 ? 0 : (tile >= l.first_tile[1]) + (tile >= l.first_tile[2]);
    const FewRowsOutput& output = l.a.outputs[index];
    const int64_t o = (tile - l.first_tile[index]) * 16 + thread % 16;
    if (o >= output.weight.rows.out) return;
    out = output.out + thread / 16 * output.weight.rows.out + o;
    for (int s = 0; s < kStreams; ++s) {
      const float* bias = l.a.outputs[index + s].bias;
      before[s] = bias != nullptr ? bias[o] : 0.0f;
    }
    if (l.a.epilogue == Epilogue::add) before[0] += *out;
  }
  __device__ void store(const float (&sum)[kStreams]) const {
    float value = sum[0] + before[0];
    if (kStreams == 2) {
      value = value / (1.0f + __expf(-value)) * (sum[kStreams - 1] + before[kStreams - 1]);
    }
    *out = value;
  }
};

// Joins the warps' sums [warp][stream][r][row], then those of the splits. `thread` counts within
// the team.
template <int kStreams, int kTeam>
__device__ void join(const Launch& l, int tile, int team, int thread, const Place<kStreams>& place,
                     float inverse, const float* sums) {
  const int each = 16 * l.a.rows;
  float sum[kStreams] = {};
  if (place.out != nullptr) {
#pragma unroll
    for (int s = 0; s < kStreams; ++s) {
#pragma unroll
      for (int w = 0; w < kTeam; ++w) sum[s] += sums[(w * kStreams + s) * each + thread];
      sum[s] *= inverse;
    }
  }
  const int splits = static_cast<int>(gridDim.y);
  if (splits > 1) {
    float* partial = l.a.partial + static_cast<int64_t>(tile) * splits * kStreams * each + thread;
    if (place.out != nullptr) {
      for (int s = 0; s < kStreams; ++s) partial[(blockIdx.y * kStreams + s) * each] = sum[s];
    }
    __shared__ bool last[kWarps / kTeam];
    __threadfence();
    wait_for_team<kTeam>(team);
    if (thread == 0) last[team] = atomicAdd(l.a.tickets + tile, 1u) + 1 == gridDim.y;
    wait_for_team<kTeam>(team);
    if (!last[team]) return;
    __threadfence();
    if (thread == 0) l.a.tickets[tile] = 0;
    if (place.out != nullptr) {
      for (int s = 0; s < kStreams; ++s) {
        sum[s] = 0;
        for (int i = 0; i < splits; ++i) sum[s] += __ldcg(partial + (i * kStreams + s) * each);
      }
    }
  }
  if (place.out != nullptr) place.store(sum);
}

// A warp's way through its units of tile after tile, several units ahead of what it multiplies.
template <class Format, int kStreams>
struct Ahead {
  const Launch& l;
  int begin;  // pieces of this warp
  int end;
  int tile;
  int step;  // to the next tile
  int stream;
  int piece;
  typename Format::Feed feed;

  __device__ Ahead(const Launch& launch, int first_piece, int last_piece, int first_tile,
                   int tiles_step, int lane)
      : l(launch),
        begin(first_piece),
        end(last_piece),
        tile(first_tile),
        step(tiles_step),
        stream(0),
        piece(first_piece) {
    if (begin >= end) tile = l.tiles;
    if (tile < l.tiles) start(lane);
  }
  __device__ void start(int lane) {
    const int index =
        kStreams == 2 ? stream : (tile >= l.first_tile[1]) + (tile >= l.first_tile[2]);
    const int own = kStreams == 2 ? tile : tile - l.first_tile[index];
    feed.begin(l.a.outputs[index].weight, own, l.pieces, begin, lane);
  }
  __device__ void fetch(uint4* slot, int lane) {
    if (tile < l.tiles) {
      feed.fetch(slot, piece, l.pieces, lane);
      piece += Format::kPieces;
      if (piece >= end) {
        piece = begin;
        if (++stream == kStreams) {
          stream = 0;
          tile += step;
        }
        if (tile < l.tiles) start(lane);
      }
    }
    close_copies();  // an empty group, too, so that they can be counted
  }
};

// total += what a unit in `slot` makes of x, whose columns of this unit begin at `x`; their sums
// for rows 2 c and 2 c + 1 of x are unit_sum.
template <class Format>
__device__ __forceinline__ void multiply_unit(const uint4* slot, const __nv_bfloat16* x,
                                              const float* unit_sum, int lane, float (&total)[4]) {
  const Format weights(slot, lane);
  float part[Format::kPieces][4] = {};
#pragma unroll
  for (int piece = 0; piece < Format::kPieces; ++piece) {
    float(&sum)[4] = Format::kScaled ? part[piece] : total;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const uint4 b =
          *reinterpret_cast<const uint4*>(x + piece * 64 + Format::x_column(lane % 4, half));
      uint32_t a[4];
      weights.fragment(piece, 2 * half, a);
      multiply_add(sum, a, b.x, b.y);
      weights.fragment(piece, 2 * half + 1, a);
      multiply_add(sum, a, b.z, b.w);
    }
  }
  if constexpr (Format::kScaled) {
    float2 too_much = {0, 0};
    if (Format::kShifted) too_much = *reinterpret_cast<const float2*>(unit_sum);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      float sum = part[0][i];
      if (Format::kPieces == 2) sum += part[Format::kPieces - 1][i];
      if (Format::kShifted) {
        sum = fmaf(-weights.zeros[i / 2], i % 2 == 0 ? too_much.x : too_much.y, sum);
      }
      total[i] = fmaf(sum, weights.scales[i / 2], total[i]);
    }
  }
}

template <class Format, int kStreams, int kStages, int kTeam>
__global__ void __launch_bounds__(kThreads, 2) few_rows(const __grid_constant__ Launch l) {
  extern __shared__ uint4 shared[];
  __shared__ float squares[kWarps];
  constexpr int kSlot = Format::kUnitBytes / 16;
  constexpr int kColumns = 64 * Format::kPieces;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int team = warp / kTeam;
  const int member = warp % kTeam;
  const int thread = static_cast<int>(threadIdx.x) % (32 * kTeam);
  const int splits = static_cast<int>(gridDim.y);
  const int units = (l.pieces + Format::kPieces - 1) / Format::kPieces;
  const int slice = (units + splits - 1) / splits;
  const int first = min(static_cast<int>(blockIdx.y) * slice, units);
  const int count = min(slice, units - first);
  const int begin = first + count * member / kTeam;
  const int end = first + count * (member + 1) / kTeam;
  // Teams of one block take tiles that lie apart, so that every block has some.
  const int first_tile = static_cast<int>(blockIdx.x + team * gridDim.x);
  const int step = static_cast<int>(gridDim.x) * (kWarps / kTeam);

  StagedX x{};
  x.values = reinterpret_cast<__nv_bfloat16*>(shared);
  x.stride = slice * kColumns + Format::kPadding / 2;
  x.zeros = x.values + l.plan.rows * x.stride;
  x.unit_sums = reinterpret_cast<float*>(x.zeros + kColumns);
  float* const both_sums = reinterpret_cast<float*>(shared + l.plan.x_bytes / 16);
  uint4* ring = shared + (l.plan.x_bytes + 2 * l.plan.sum_bytes) / 16 + warp * kStages * kSlot;

  Ahead<Format, kStreams> ahead(l, begin * Format::kPieces, end * Format::kPieces, first_tile, step,
                                lane);
#pragma unroll
  for (int s = 0; s + 1 < kStages; ++s) ahead.fetch(ring + s * kSlot, lane);
  let_successor_begin();
  wait_for_predecessor();
  stage_x<Format>(l, first * kColumns, count * kColumns, squares, x);
  __syncthreads();
  const int each = 16 * l.a.rows;
  const float inverse = inverse_norm(l, min(thread / 16, l.a.rows - 1), squares);

  const bool has_row = lane / 4 < l.a.rows;
  const __nv_bfloat16* own_x =
      has_row ? x.values + lane / 4 * x.stride + (begin - first) * kColumns : x.zeros;
  const int x_step = has_row ? kColumns : 0;
  const float* own_unit_sums = x.unit_sums + (begin - first) * 8 + lane % 4 * 2;
  const uint4* slot = ring;
  uint4* free = ring + (kStages - 1) * kSlot;
  const uint4* const past = ring + kStages * kSlot;
  int buffer = 0;
  for (int tile = first_tile; tile < l.tiles; tile += step) {
    const Place<kStreams> place(l, tile, thread);
    float total[kStreams][4] = {};
#pragma unroll
    for (int stream = 0; stream < kStreams; ++stream) {
      const __nv_bfloat16* columns = own_x;
      const float* unit_sum = own_unit_sums;
      for (int unit = begin; unit < end; ++unit) {
        ahead.fetch(free, lane);
        free = free + kSlot == past ? ring : free + kSlot;
        wait_for_copies<kStages - 1>();
        __syncwarp();  // other lanes brought the scales
        multiply_unit<Format>(slot, columns, unit_sum, lane, total[stream]);
        slot = slot + kSlot == past ? ring : slot + kSlot;
        columns += x_step;
        unit_sum += 8;
        __syncwarp();  // everyone has read this slot, which is filled next
      }
    }
    float* sums = both_sums + buffer * (l.plan.sum_bytes / 4) + team * kTeam * kStreams * each;
#pragma unroll
    for (int stream = 0; stream < kStreams; ++stream) {
      float* to = sums + (member * kStreams + stream) * each + lane / 4;
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int r = 2 * (lane % 4) + i % 2;
        if (r < l.a.rows) to[r * 16 + i / 2 * 8] = total[stream][i];
      }
    }
    wait_for_team<kTeam>(team);
    join<kStreams, kTeam>(l, tile, team, thread, place, inverse, sums);
    // Warps that have nothing to join go on: they write into the other buffer, and meet before
    // they come back to this one.
    buffer ^= 1;
  }
}

template <class Format, int kStreams, int kStages, int kTeam>
void launch(const Launch& l, cudaStream_t stream) {
  static_assert(sizeof(Launch) < 4096, "parameters of a kernel");
  const auto kernel = few_rows<Format, kStreams, kStages, kTeam>;
  launch_overlapped(
      kernel, l, dim3(static_cast<unsigned>(l.plan.blocks), static_cast<unsigned>(l.plan.splits)),
      kThreads, static_cast<size_t>(l.plan.shared_bytes), stream);
}

template <class Format, int kStreams, int kStages>
void launch(const Launch& l, cudaStream_t stream) {
  if (l.plan.team == 4) return launch<Format, kStreams, kStages, 4>(l, stream);
  if (l.plan.team == 8) return launch<Format, kStreams, kStages, 8>(l, stream);
  launch<Format, kStreams, kStages, kWarps>(l, stream);
}

template <class Format>
FewRowsShape shape_of(int rows, int tiles, int pieces, int streams) {
  return {rows,
          tiles,
          (pieces + Format::kPieces - 1) / Format::kPieces,
          streams,
          64 * Format::kPieces,
          Format::kUnitBytes,
          Format::kPadding,
          kSplitFloats / (16 * rows)};
}

template <class Format, int kStreams>
void launch(Launch& l, const CardLimits& card, cudaStream_t stream) {
  const FewRowsArgs whole = l.a;
  l.plan = plan_few_rows(shape_of<Format>(whole.rows, l.tiles, l.pieces, kStreams), card);
  if (l.plan.rows == 0) return;  // fast_few_rows_apply says so before
  for (int first = 0; first < whole.rows; first += l.plan.rows) {
    l.a.rows = std::min(l.plan.rows, whole.rows - first);
    l.a.x = whole.x + static_cast<int64_t>(first) * whole.in;
    for (int i = 0; i < whole.count; ++i) {
      l.a.outputs[i].out = whole.outputs[i].out + first * whole.outputs[i].weight.rows.out;
    }
    if (l.plan.stages == 6) {
      launch<Format, kStreams, 6>(l, stream);
    } else if (l.plan.stages == 4) {
      launch<Format, kStreams, 4>(l, stream);
    } else {
      launch<Format, kStreams, 2>(l, stream);
    }
  }
}

// use(format, what it is).
template <class Use>
auto with_fast_format(const FastMatrix& m, const Use& use) {
  if (m.rows.format == WeightFormat::int8) return use(static_cast<const RowsInt8*>(nullptr));
  if (m.rows.format == WeightFormat::bf16) return use(static_cast<const RowsBf16*>(nullptr));
  if (m.group_shift == 0) return use(static_cast<const TiledInt4<1>*>(nullptr));
  return use(static_cast<const TiledInt4<2>*>(nullptr));
}

template <class Format>
using Known = std::remove_cv_t<std::remove_pointer_t<Format>>;

}  // namespace

bool fast_few_rows_apply(const FastMatrix& weight, const CardLimits& card) {
  if (weight.rows.format == WeightFormat::f32) return false;
  if (weight.rows.format == WeightFormat::int4 && !weight.tiled) return false;
  if (weight.rows.format == WeightFormat::int8 && weight.group_shift < 0) return false;
  const auto tiles = static_cast<int>((weight.rows.out + kTileRows - 1) / kTileRows);
  const auto pieces = static_cast<int>((weight.rows.in + kTileColumns - 1) / kTileColumns);
  return with_fast_format(weight, [&](auto format) {
    return plan_few_rows(shape_of<Known<decltype(format)>>(1, tiles, pieces, 2), card).stages > 0;
  });
}

// Weights of one launch share a format: where groups of some are as narrow as 64, all take those.
void fast_few_rows(const FewRowsArgs& args, const CardLimits& card, cudaStream_t stream) {
  Launch l{};
  l.a = args;
  l.pieces = static_cast<int>((args.in + kTileColumns - 1) / kTileColumns);
  FastMatrix narrowest = args.outputs[0].weight;
  for (int& first : l.first_tile) first = INT32_MAX;
  for (int i = 0; i < args.count; ++i) {
    const FastMatrix& weight = args.outputs[i].weight;
    narrowest.group_shift = std::min(narrowest.group_shift, weight.group_shift);
    if (args.epilogue == Epilogue::gated && i > 0) continue;
    l.first_tile[i] = l.tiles;
    l.tiles += static_cast<int>((weight.rows.out + kTileRows - 1) / kTileRows);
  }
  const auto address = reinterpret_cast<uintptr_t>(args.x) | reinterpret_cast<uintptr_t>(args.norm);
  l.aligned = address % 16 == 0 && args.in % 4 == 0;
  with_fast_format(narrowest, [&](auto format) {
    using Format = Known<decltype(format)>;
    if (args.epilogue == Epilogue::gated) {
      launch<Format, 2>(l, card, stream);
    } else {
      launch<Format, 1>(l, card, stream);
    }
  });
}

}  // namespace squint::cuda
