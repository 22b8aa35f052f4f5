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

// (bits & 0x000f000f) | 0x43004300 in one instruction: two codes as bf16 of 128 + u.
__device__ __forceinline__ uint32_t codes_of(uint32_t bits) {
  uint32_t pair;
  asm("lop3.b32 %0, %1, %2, %3, 0xea;\n"
      : "=r"(pair)
      : "r"(bits), "r"(0x000f000fu), "r"(0x43004300u));
  return pair;
}

// A format says how a unit of 16 rows by 64 kPieces columns comes into shared memory, where a Feed
// goes through a row of units, and what a lane makes of it: fragment(piece, s) of 16 columns, s =
// 0 .. 3, to be multiplied with x at x_column(c, half) + 64 piece: eight values for two fragments.

// Of groups of at least so many columns.
template <int kPiecesOfUnit>
struct TiledInt4 {
  static constexpr int kPieces = kPiecesOfUnit;
  static constexpr int kUnitBytes = kPieces * 512 + 64;
  static constexpr int kPadding = 16;
  static constexpr bool kScaled = true;
  __device__ static int x_column(int c, int half) { return c * 16 + half * 8; }

  struct Feed {
    const uint4* values;
    const uint32_t* groups;
    int shift;
    __device__ void begin(const FastMatrix& m, int tile, int pieces, int piece, int lane) {
      values = static_cast<const uint4*>(m.rows.values) +
               (static_cast<int64_t>(tile) * pieces + piece) * 32 + lane;
      groups = m.rows.groups + tile * m.rows.group_count * 16 + lane * 4;
      shift = m.group_shift;
    }
    __device__ void fetch(uint4* slot, int piece, int pieces, int lane) {
#pragma unroll
      for (int i = 0; i < kPieces; ++i) {
        // What is past the last column meets zeros of x, and must be finite.
        const bool inside = i == 0 || piece + i < pieces;
        copy_async(slot + 32 * i + lane, inside ? values + 32 * i : values, inside);
      }
      values += 32 * kPieces;
      if (lane < 4) copy_async(slot + 32 * kPieces + lane, groups + (piece >> shift) * 16);
    }
  };

  __device__ TiledInt4(const uint4* slot, int lane) {
#pragma unroll
    for (int i = 0; i < kPieces; ++i) words[i] = slot[32 * i + lane];
    const auto* groups = reinterpret_cast<const uint32_t*>(slot + 32 * kPieces);
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const uint32_t group = groups[lane / 4 + 8 * i];
      const uint32_t zero = __byte_perm(group, 0, 0x1010);
      zeros[i] = *reinterpret_cast<const __nv_bfloat162*>(&zero);
      scales[i] = __uint_as_float(group & 0xffff0000u);
    }
  }
  __device__ void fragment(int piece, int s, uint32_t (&a)[4]) const {
    const uint4& v = words[piece];
    const uint32_t word = s == 0 ? v.x : s == 1 ? v.y : s == 2 ? v.z : v.w;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const uint32_t bits = codes_of(word >> (4 * i));
      const __nv_bfloat162 value =
          __hsub2(*reinterpret_cast<const __nv_bfloat162*>(&bits), zeros[i % 2]);
      a[i] = *reinterpret_cast<const uint32_t*>(&value);
    }
  }
  uint4 words[kPieces];
  __nv_bfloat162 zeros[2];
  float scales[2];
};

// What rows g and g + 8 of a tile are in a matrix that is stored in rows; past the end the last one,
// which is not stored.
__device__ __forceinline__ int row_of(const FastMatrix& m, int tile, int row) {
  return min(tile * 16 + row, static_cast<int>(m.rows.out) - 1);
}

// Lane c has columns 16 c onwards of rows g and g + 8.
struct RowsInt8 {
  static constexpr int kPieces = 1;
  static constexpr int kUnitBytes = 1024 + 64;
  static constexpr int kPadding = 16;
  static constexpr bool kScaled = true;
  __device__ static int x_column(int c, int half) { return c * 16 + half * 8; }

  struct Feed {
    const uint4* rows[2];
    const uint32_t* groups;
    int vector;
    int vectors;
    int shift;
    __device__ void begin(const FastMatrix& m, int tile, int, int piece, int lane) {
      vectors = static_cast<int>(m.rows.row_vectors);
      vector = piece * 4 + lane % 4;
      for (int i = 0; i < 2; ++i) {
        rows[i] = static_cast<const uint4*>(m.rows.values) +
                  row_of(m, tile, lane / 4 + 8 * i) * m.rows.row_vectors;
      }
      groups = m.rows.groups + row_of(m, tile, lane % 16) * m.rows.group_count;
      shift = m.group_shift;
    }
    __device__ void fetch(uint4* slot, int piece, int, int lane) {
      const bool inside = vector < vectors;
      for (int i = 0; i < 2; ++i) {
        copy_async(slot + 32 * i + lane, rows[i] + (inside ? vector : 0), inside);
      }
      vector += 4;
      if (lane >= 16) return;
      asm volatile("cp.async.ca.shared.global [%0], [%1], 4;\n" ::"r"(
                       shared_address(reinterpret_cast<uint32_t*>(slot + 64) + lane)),
                   "l"(groups + (piece >> shift))
                   : "memory");
    }
  };

  __device__ RowsInt8(const uint4* slot, int lane) {
    const auto* groups = reinterpret_cast<const uint32_t*>(slot + 64);
    for (int i = 0; i < 2; ++i) {
      rows[i] = slot[32 * i + lane];
      const uint32_t group = groups[lane / 4 + 8 * i];
      zeros[i] = __uint_as_float(kTwoTo23 | (group & 0xffff));
      scales[i] = __uint_as_float(group & 0xffff0000u);
    }
  }
  // u - zero has eight bits and a sign: exact in bf16.
  __device__ void fragment(int, int s, uint32_t (&a)[4]) const {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const uint4& row = rows[i];
      const uint32_t word = s == 0 ? row.x : s == 1 ? row.y : s == 2 ? row.z : row.w;
      a[i] = bf16_pair(code(word, 0x7440) - zeros[i], code(word, 0x7441) - zeros[i]);
      a[i + 2] = bf16_pair(code(word, 0x7442) - zeros[i], code(word, 0x7443) - zeros[i]);
    }
  }
  static constexpr uint32_t kTwoTo23 = 0x4b000000;  // see weight_formats.cuh
  __device__ static float code(uint32_t word, uint32_t bytes) {
    return __uint_as_float(__byte_perm(word, kTwoTo23, bytes));
  }
  uint4 rows[2];
  float zeros[2];
  float scales[2];
};

// Lane c has columns 8 c onwards of both halves of 32, so that four lanes read side by side.
struct RowsBf16 {
  static constexpr int kPieces = 1;
  static constexpr int kUnitBytes = 2048;
  static constexpr int kPadding = 64;
  static constexpr bool kScaled = false;
  __device__ static int x_column(int c, int half) { return half * 32 + c * 8; }

  struct Feed {
    const uint4* rows[2];
    int vector;
    int vectors;
    __device__ void begin(const FastMatrix& m, int tile, int, int piece, int lane) {
      vectors = static_cast<int>(m.rows.row_vectors);
      vector = piece * 8 + lane % 4;
      for (int i = 0; i < 2; ++i) {
        rows[i] = static_cast<const uint4*>(m.rows.values) +
                  row_of(m, tile, lane / 4 + 8 * i) * m.rows.row_vectors;
      }
    }
    __device__ void fetch(uint4* slot, int, int, int lane) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int at = vector + i / 2 * 4;
        const bool inside = at < vectors;
        copy_async(slot + 32 * i + lane, rows[i % 2] + (inside ? at : 0), inside);
      }
      vector += 8;
    }
  };

  __device__ RowsBf16(const uint4* slot, int lane) {
#pragma unroll
    for (int i = 0; i < 4; ++i) vectors[i] = slot[32 * i + lane];
  }
  __device__ void fragment(int, int s, uint32_t (&a)[4]) const {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const uint4& v = vectors[s / 2 * 2 + i];
      a[i] = s % 2 == 0 ? v.x : v.z;
      a[i + 2] = s % 2 == 0 ? v.y : v.w;
    }
  }
  uint4 vectors[4];
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

// Columns [first, first + columns) of x, times the norm's weight, to bf16 [rows, stride]. What the
// norm divides by is taken into the sums later: each warp leaves its share of Σ x² in squares.
__device__ void stage_x(const Launch& l, int first, int columns, int stride, float* squares,
                        __nv_bfloat16* to) {
  const int threads = warps_of_row(l.a.rows) * 32;
  const int row = static_cast<int>(threadIdx.x) / threads;
  const int at = static_cast<int>(threadIdx.x) % threads * 4;
  if (row >= l.a.rows) return;
  const float* x = l.a.x + static_cast<int64_t>(row) * l.a.in;
  const bool normed = l.a.norm != nullptr;
  float sum = 0;
  // A slice needs the squares of the whole row.
  const int begin = normed ? 0 : first;
  const int end = normed ? max(l.a.in, first + columns) : first + columns;
#pragma unroll 4
  for (int i = begin + at; i < end; i += threads * 4) {
    float4 v = four_of_x(x, i, l.a.in, l.aligned);
    if (normed) {
      sum = fmaf(v.x, v.x, fmaf(v.y, v.y, fmaf(v.z, v.z, fmaf(v.w, v.w, sum))));
      const float4 w = four_of_x(l.a.norm, i, l.a.in, l.aligned);
      v = {v.x * w.x, v.y * w.y, v.z * w.z, v.w * w.w};
    }
    if (i < first || i >= first + columns) continue;
    *reinterpret_cast<uint2*>(to + row * stride + i - first) =
        uint2{bf16_pair(v.x, v.y), bf16_pair(v.z, v.w)};
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

// What a thread stores of a tile: row t % 16 of the tile, row t / 16 of x.
template <int kStreams>
struct Place {
  float* out;  // null: nothing
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

// Joins the warps' sums [warp][stream][r][row], then those of the splits.
template <int kStreams>
__device__ void join(const Launch& l, int tile, const Place<kStreams>& place, float inverse,
                     const float* sums) {
  const int each = 16 * l.a.rows;
  const int t = static_cast<int>(threadIdx.x);
  float sum[kStreams] = {};
  if (place.out != nullptr) {
#pragma unroll
    for (int s = 0; s < kStreams; ++s) {
#pragma unroll
      for (int w = 0; w < kWarps; ++w) sum[s] += sums[(w * kStreams + s) * each + t];
      sum[s] *= inverse;
    }
  }
  const int splits = static_cast<int>(gridDim.y);
  if (splits > 1) {
    float* partial = l.a.partial + static_cast<int64_t>(tile) * splits * kStreams * each;
    if (place.out != nullptr) {
      for (int s = 0; s < kStreams; ++s) partial[(blockIdx.y * kStreams + s) * each + t] = sum[s];
    }
    __shared__ bool last;
    __threadfence();
    __syncthreads();
    if (t == 0) last = atomicAdd(l.a.tickets + tile, 1u) + 1 == gridDim.y;
    __syncthreads();
    if (!last) return;
    __threadfence();
    if (t == 0) l.a.tickets[tile] = 0;
    if (place.out != nullptr) {
      for (int s = 0; s < kStreams; ++s) {
        sum[s] = 0;
        for (int i = 0; i < splits; ++i) sum[s] += __ldcg(partial + (i * kStreams + s) * each + t);
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
  int stream;
  int piece;
  typename Format::Feed feed;

  __device__ Ahead(const Launch& launch, int first_piece, int last_piece, int lane)
      : l(launch),
        begin(first_piece),
        end(last_piece),
        tile(static_cast<int>(blockIdx.x)),
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
          tile += static_cast<int>(gridDim.x);
        }
        if (tile < l.tiles) start(lane);
      }
    }
    close_copies();  // an empty group, too, so that they can be counted
  }
};

// total += what a unit in `slot` makes of x, whose columns of this unit begin at `x`.
template <class Format>
__device__ __forceinline__ void multiply_unit(const uint4* slot, const __nv_bfloat16* x, int lane,
                                              bool has_row, float (&total)[4]) {
  const Format weights(slot, lane);
  float part[Format::kPieces][4] = {};
#pragma unroll
  for (int piece = 0; piece < Format::kPieces; ++piece) {
    float(&sum)[4] = Format::kScaled ? part[piece] : total;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      uint4 b = {0, 0, 0, 0};
      if (has_row) {
        b = *reinterpret_cast<const uint4*>(x + piece * 64 + Format::x_column(lane % 4, half));
      }
      uint32_t a[4];
      weights.fragment(piece, 2 * half, a);
      multiply_add(sum, a, b.x, b.y);
      weights.fragment(piece, 2 * half + 1, a);
      multiply_add(sum, a, b.z, b.w);
    }
  }
  if constexpr (Format::kScaled) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      float sum = part[0][i];
      if (Format::kPieces == 2) sum += part[Format::kPieces - 1][i];
      total[i] = fmaf(sum, weights.scales[i / 2], total[i]);
    }
  }
}

template <class Format, int kStreams, int kStages>
__global__ void __launch_bounds__(kThreads, 2) few_rows(const __grid_constant__ Launch l) {
  extern __shared__ uint4 shared[];
  __shared__ float squares[kWarps];
  constexpr int kSlot = Format::kUnitBytes / 16;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int splits = static_cast<int>(gridDim.y);
  const int units = (l.pieces + Format::kPieces - 1) / Format::kPieces;
  const int slice = (units + splits - 1) / splits;
  const int first = min(static_cast<int>(blockIdx.y) * slice, units);
  const int count = min(slice, units - first);
  const int begin = first + count * warp / kWarps;
  const int end = first + count * (warp + 1) / kWarps;

  auto* x = reinterpret_cast<__nv_bfloat16*>(shared);
  constexpr int kColumns = 64 * Format::kPieces;
  const int stride = slice * kColumns + Format::kPadding / 2;
  auto* sums = reinterpret_cast<float*>(shared + l.plan.x_bytes / 16);
  uint4* ring = shared + (l.plan.x_bytes + 2 * l.plan.sum_bytes) / 16 + warp * kStages * kSlot;

  Ahead<Format, kStreams> ahead(l, begin * Format::kPieces, end * Format::kPieces, lane);
#pragma unroll
  for (int s = 0; s + 1 < kStages; ++s) ahead.fetch(ring + s * kSlot, lane);
  let_successor_begin();
  wait_for_predecessor();
  stage_x(l, first * kColumns, count * kColumns, stride, squares, x);
  __syncthreads();
  const int each = 16 * l.a.rows;
  const int own_row = min(static_cast<int>(threadIdx.x) / 16, l.a.rows - 1);
  const float inverse = inverse_norm(l, own_row, squares);

  const bool has_row = lane / 4 < l.a.rows;
  const __nv_bfloat16* own_x =
      x + (has_row ? lane / 4 : 0) * stride + (begin - first) * kColumns;
  const uint4* slot = ring;
  uint4* free = ring + (kStages - 1) * kSlot;
  const uint4* const past = ring + kStages * kSlot;
  for (int tile = static_cast<int>(blockIdx.x); tile < l.tiles;
       tile += static_cast<int>(gridDim.x)) {
    const Place<kStreams> place(l, tile, static_cast<int>(threadIdx.x));
    float total[kStreams][4] = {};
#pragma unroll
    for (int stream = 0; stream < kStreams; ++stream) {
      const __nv_bfloat16* columns = own_x;
      for (int unit = begin; unit < end; ++unit) {
        ahead.fetch(free, lane);
        free = free + kSlot == past ? ring : free + kSlot;
        wait_for_copies<kStages - 1>();
        __syncwarp();  // other lanes brought the scales
        multiply_unit<Format>(slot, columns, lane, has_row, total[stream]);
        slot = slot + kSlot == past ? ring : slot + kSlot;
        columns += kColumns;
        __syncwarp();  // everyone has read this slot, which is filled next
      }
    }
#pragma unroll
    for (int stream = 0; stream < kStreams; ++stream) {
      float* to = sums + (warp * kStreams + stream) * each + lane / 4;
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int r = 2 * (lane % 4) + i % 2;
        if (r < l.a.rows) to[r * 16 + i / 2 * 8] = total[stream][i];
      }
    }
    __syncthreads();
    join<kStreams>(l, tile, place, inverse, sums);
    // Warps that have nothing to join go on: they write into the other buffer, and meet before
    // they come back to this one.
    sums = sums == reinterpret_cast<float*>(shared + l.plan.x_bytes / 16)
               ? sums + l.plan.sum_bytes / 4
               : sums - l.plan.sum_bytes / 4;
  }
}

template <class Format, int kStreams, int kStages>
void launch(const Launch& l, cudaStream_t stream) {
  static_assert(sizeof(Launch) < 4096, "parameters of a kernel");
  cudaFuncSetAttribute(few_rows<Format, kStreams, kStages>,
                       cudaFuncAttributeMaxDynamicSharedMemorySize, l.plan.shared_bytes);
  launch_overlapped(
      few_rows<Format, kStreams, kStages>, l,
      dim3(static_cast<unsigned>(l.plan.blocks), static_cast<unsigned>(l.plan.splits)), kThreads,
      static_cast<size_t>(l.plan.shared_bytes), stream);
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
