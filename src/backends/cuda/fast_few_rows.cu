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
#include "backends/cuda/block_sum.cuh"
#include "backends/cuda/fast_kernels.h"
#include "backends/cuda/fast_plan.h"
#include "backends/cuda/mma.cuh"

namespace squint::cuda {
namespace {

constexpr int kWarps = kFewRowsWarps;
constexpr int kThreads = 32 * kWarps;
constexpr uint32_t kBf16Of128 = 0x4300;  // whose lowest bits count ones

struct Launch {
  FewRowsArgs a;
  FewRowsPlan plan;
  int tiles;                     // of all outputs
  int first_tile[kMostOutputs];  // of each
  int pieces;
  bool aligned;  // rows of x begin at sixteen bytes
};

// One lane's part of 16 rows by 64 columns: fragment(s) of 16 columns, s = 0 .. 3. Half h of its x
// is the eight values at x_column(c, h).
struct TiledInt4 {
  static constexpr int kPieceBytes = 512 + 64;
  static constexpr int kPadding = 16;
  static constexpr bool kScaled = true;
  __device__ static int x_column(int c, int half) { return c * 16 + half * 8; }
  __device__ static void fetch(const FastMatrix& m, int tile, int pieces, int piece, int lane,
                               uint4* slot) {
    const auto at = static_cast<int64_t>(tile) * pieces + piece;
    copy_async(slot + lane, static_cast<const uint4*>(m.rows.values) + at * 32 + lane);
    if (lane < 4) {
      const int64_t group = tile * m.rows.group_count + (piece >> m.group_shift);
      copy_async(slot + 32 + lane, m.rows.groups + group * 16 + lane * 4);
    }
  }
  __device__ TiledInt4(const uint4* slot, int lane) : words(slot[lane]) {
    const auto* groups = reinterpret_cast<const uint32_t*>(slot + 32);
    for (int i = 0; i < 2; ++i) {
      const uint32_t group = groups[lane / 4 + 8 * i];
      const uint32_t zero = (kBf16Of128 | (group & 0xf)) * 0x10001;
      zeros[i] = *reinterpret_cast<const __nv_bfloat162*>(&zero);
      scales[i] = __uint_as_float(group & 0xffff0000u);
    }
  }
  __device__ void fragment(int s, uint32_t (&a)[4]) const {
    const uint32_t word = s == 0 ? words.x : s == 1 ? words.y : s == 2 ? words.z : words.w;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const uint32_t bits = ((word >> (4 * i)) & 0x000f000fu) | (kBf16Of128 * 0x10001);
      const __nv_bfloat162 value =
          __hsub2(*reinterpret_cast<const __nv_bfloat162*>(&bits), zeros[i % 2]);
      a[i] = *reinterpret_cast<const uint32_t*>(&value);
    }
  }
  uint4 words;
  __nv_bfloat162 zeros[2];
  float scales[2];
};

// Rows as they are stored: lane c has columns 16 c onwards of rows g and g + 8.
struct RowsInt8 {
  static constexpr int kPieceBytes = 1024 + 64;
  static constexpr int kPadding = 16;
  static constexpr bool kScaled = true;
  __device__ static int x_column(int c, int half) { return c * 16 + half * 8; }
  __device__ static void fetch(const FastMatrix& m, int tile, int, int piece, int lane,
                               uint4* slot) {
    const auto* values = static_cast<const uint4*>(m.rows.values);
    const int64_t vector = piece * 4 + lane % 4;
    for (int i = 0; i < 2; ++i) {
      const int64_t row = min(tile * 16 + lane / 4 + 8 * i, static_cast<int>(m.rows.out) - 1);
      const bool inside = vector < m.rows.row_vectors;
      copy_async(slot + 32 * i + lane, inside ? values + row * m.rows.row_vectors + vector : values,
                 inside);
    }
    if (lane < 16) {
      const int64_t row = min(tile * 16 + lane, static_cast<int>(m.rows.out) - 1);
      const uint32_t* from = m.rows.groups + row * m.rows.group_count + (piece >> m.group_shift);
      asm volatile("cp.async.ca.shared.global [%0], [%1], 4;\n" ::"r"(
                       shared_address(reinterpret_cast<uint32_t*>(slot + 64) + lane)),
                   "l"(from)
                   : "memory");
    }
  }
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
  __device__ void fragment(int s, uint32_t (&a)[4]) const {
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
  static constexpr int kPieceBytes = 2048;
  static constexpr int kPadding = 64;
  static constexpr bool kScaled = false;
  __device__ static int x_column(int c, int half) { return half * 32 + c * 8; }
  __device__ static void fetch(const FastMatrix& m, int tile, int, int piece, int lane,
                               uint4* slot) {
    const auto* values = static_cast<const uint4*>(m.rows.values);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int64_t vector = piece * 8 + i / 2 * 4 + lane % 4;
      const int64_t row = min(tile * 16 + lane / 4 + i % 2 * 8, static_cast<int>(m.rows.out) - 1);
      const bool inside = vector < m.rows.row_vectors;
      copy_async(slot + 32 * i + lane, inside ? values + row * m.rows.row_vectors + vector : values,
                 inside);
    }
  }
  __device__ RowsBf16(const uint4* slot, int lane) {
    for (int i = 0; i < 4; ++i) vectors[i] = slot[32 * i + lane];
  }
  __device__ void fragment(int s, uint32_t (&a)[4]) const {
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

// The threads of a block, divided among the rows of x.
struct RowShare {
  __device__ explicit RowShare(int rows)
      : share(rows == 1   ? 1
              : rows == 2 ? 2
              : rows <= 4 ? 4
                          : 8),
        threads(kThreads / share),
        row(static_cast<int>(threadIdx.x) / threads),
        at(static_cast<int>(threadIdx.x) % threads) {}
  int share;
  int threads;
  int row;
  int at;
};

// 1 / sqrt(mean(x²) + eps) of this thread's row, or 1. Every thread takes part.
__device__ float inverse_norm(const Launch& l, const RowShare& own, float* sums) {
  if (l.a.norm == nullptr) return 1;
  float squares = 0;
  if (own.row < l.a.rows) {
    const float* x = l.a.x + static_cast<int64_t>(own.row) * l.a.in;
    for (int i = own.at * 4; i < l.a.in; i += own.threads * 4) {
      const float4 v = four_of_x(x, i, l.a.in, l.aligned);
      squares = fmaf(v.x, v.x, fmaf(v.y, v.y, fmaf(v.z, v.z, fmaf(v.w, v.w, squares))));
    }
  }
  squares = warp_sum(squares);
  if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = squares;
  __syncthreads();
  float total = 0;
  const int warps = own.threads / 32;
  for (int i = 0; i < warps; ++i) total += sums[own.row * warps + i];
  __syncthreads();  // sums are about to be used for something else
  return 1.0f / sqrtf(total / static_cast<float>(l.a.in) + l.a.eps);
}

// Columns [first, first + columns) of x to bf16 [rows, stride].
__device__ void stage_x(const Launch& l, int first, int columns, int stride, float* sums,
                        __nv_bfloat16* to) {
  const RowShare own(l.a.rows);
  const float inverse = inverse_norm(l, own, sums);
  if (own.row >= l.a.rows) return;
  const float* x = l.a.x + static_cast<int64_t>(own.row) * l.a.in;
  for (int i = own.at * 4; i < columns; i += own.threads * 4) {
    float4 v = four_of_x(x, first + i, l.a.in, l.aligned);
    if (l.a.norm != nullptr) {
      const float4 w = four_of_x(l.a.norm, first + i, l.a.in, l.aligned);
      v = {v.x * inverse * w.x, v.y * inverse * w.y, v.z * inverse * w.z, v.w * inverse * w.w};
    }
    *reinterpret_cast<uint2*>(to + own.row * stride + i) =
        uint2{bf16_pair(v.x, v.y), bf16_pair(v.z, v.w)};
  }
}

// What a warp goes through: tiles, the weights of each, the pieces of its range.
template <int kStreams>
struct Cursor {
  int tile;
  int stream;
  int piece;
  __device__ void advance(int begin, int end) {
    if (++piece < end) return;
    piece = begin;
    if (++stream < kStreams) return;
    stream = 0;
    tile += static_cast<int>(gridDim.x);
  }
};

// Which output a tile belongs to; its own tile there is tile - first_tile[...].
__device__ __forceinline__ int output_of(const Launch& l, int tile) {
  int output = 0;
  for (int i = 1; i < l.a.count; ++i) output = tile >= l.first_tile[i] ? i : output;
  return output;
}

template <int kStreams>
__device__ void finish(const Launch& l, int tile, int row, int r, const float (&sum)[kStreams]) {
  const int index = kStreams == 2 ? 0 : output_of(l, tile);
  const FewRowsOutput& output = l.a.outputs[index];
  const int64_t o = (tile - (kStreams == 2 ? 0 : l.first_tile[index])) * 16 + row;
  if (o >= output.weight.rows.out) return;
  float* out = output.out + r * output.weight.rows.out + o;
  float value = sum[0] + (output.bias != nullptr ? output.bias[o] : 0.0f);
  if (kStreams == 2) {
    const float* bias = l.a.outputs[1].bias;
    const float up = sum[kStreams - 1] + (bias != nullptr ? bias[o] : 0.0f);
    value = value / (1.0f + __expf(-value)) * up;
  }
  if (l.a.epilogue == Epilogue::add) value += *out;
  *out = value;
}

// Joins the warps' sums [warp][stream][r][row], then the splits'.
template <int kStreams>
__device__ void join(const Launch& l, int tile, const float* sums) {
  const int each = 16 * l.a.rows;
  const int t = static_cast<int>(threadIdx.x);
  const bool mine = t < each;
  float sum[kStreams] = {};
  if (mine) {
#pragma unroll
    for (int s = 0; s < kStreams; ++s) {
#pragma unroll
      for (int w = 0; w < kWarps; ++w) sum[s] += sums[(w * kStreams + s) * each + t];
    }
  }
  const int splits = static_cast<int>(gridDim.y);
  if (splits > 1) {
    float* partial = l.a.partial + static_cast<int64_t>(tile) * splits * kStreams * each;
    if (mine) {
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
    if (mine) {
      for (int s = 0; s < kStreams; ++s) {
        sum[s] = 0;
        for (int i = 0; i < splits; ++i) sum[s] += __ldcg(partial + (i * kStreams + s) * each + t);
      }
    }
  }
  if (mine) finish<kStreams>(l, tile, t % 16, t / 16, sum);
}

// Of `stages` groups of copies. How many are open is part of the instruction.
__device__ __forceinline__ void wait_for_oldest(int stages) {
  switch (stages) {
    case 2:
      return wait_for_copies<1>();
    case 3:
      return wait_for_copies<2>();
    case 4:
      return wait_for_copies<3>();
    case 5:
      return wait_for_copies<4>();
    case 6:
      return wait_for_copies<5>();
    case 7:
      return wait_for_copies<6>();
    case kMostStages:
      return wait_for_copies<kMostStages - 1>();
    default:
      return wait_for_copies<0>();
  }
}

template <class Format, int kStreams>
__global__ void __launch_bounds__(kThreads, 2) few_rows(const __grid_constant__ Launch l) {
  extern __shared__ uint4 shared[];
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int splits = static_cast<int>(gridDim.y);
  const int slice = (l.pieces + splits - 1) / splits;
  const int first = min(static_cast<int>(blockIdx.y) * slice, l.pieces);
  const int count = min(slice, l.pieces - first);
  const int begin = first + count * warp / kWarps;
  const int end = first + count * (warp + 1) / kWarps;

  auto* x = reinterpret_cast<__nv_bfloat16*>(shared);
  const int stride = slice * 64 + Format::kPadding / 2;
  auto* sums = reinterpret_cast<float*>(shared + l.plan.x_bytes / 16);
  const int each = 16 * l.a.rows;
  uint4* ring = reinterpret_cast<uint4*>(sums + kWarps * kStreams * each) +
                warp * l.plan.stages * (Format::kPieceBytes / 16);

  const auto fetch = [&](const Cursor<kStreams>& at, int slot) {
    if (at.tile < l.tiles && begin < end) {
      const int output = kStreams == 2 ? at.stream : output_of(l, at.tile);
      const int tile = at.tile - (kStreams == 2 ? 0 : l.first_tile[output]);
      Format::fetch(l.a.outputs[output].weight, tile, l.pieces, at.piece, lane,
                    ring + slot * (Format::kPieceBytes / 16));
    }
    close_copies();  // an empty one, too, so that they can be counted
  };
  Cursor<kStreams> ahead{static_cast<int>(blockIdx.x), 0, begin};
  const int stages = l.plan.stages;
  for (int s = 0; s + 1 < stages; ++s) {
    fetch(ahead, s);
    ahead.advance(begin, end);
  }
  let_successor_begin();
  wait_for_predecessor();
  stage_x(l, first * 64, count * 64, stride, sums, x);
  __syncthreads();

  const int c = lane % 4;
  const bool has_row = lane / 4 < l.a.rows;
  const __nv_bfloat16* own_x = x + (has_row ? lane / 4 : 0) * stride;
  int slot = 0;
  int free = stages - 1;
  for (int tile = static_cast<int>(blockIdx.x); tile < l.tiles;
       tile += static_cast<int>(gridDim.x)) {
    float total[kStreams][4] = {};
#pragma unroll
    for (int stream = 0; stream < kStreams; ++stream) {
      for (int piece = begin; piece < end; ++piece) {
        fetch(ahead, free);
        ahead.advance(begin, end);
        free = free + 1 == stages ? 0 : free + 1;
        wait_for_oldest(stages);
        __syncwarp();  // other lanes brought the scales
        const Format weights(ring + slot * (Format::kPieceBytes / 16), lane);
        slot = slot + 1 == stages ? 0 : slot + 1;
        float part[4] = {};
        float(&sum)[4] = Format::kScaled ? part : total[stream];
        const __nv_bfloat16* columns = own_x + (piece - first) * 64;
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          uint4 b = {0, 0, 0, 0};
          if (has_row) b = *reinterpret_cast<const uint4*>(columns + Format::x_column(c, half));
          uint32_t a[4];
          weights.fragment(2 * half, a);
          multiply_add(sum, a, b.x, b.y);
          weights.fragment(2 * half + 1, a);
          multiply_add(sum, a, b.z, b.w);
        }
        if constexpr (Format::kScaled) {
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            total[stream][i] = fmaf(part[i], weights.scales[i / 2], total[stream][i]);
          }
        }
        __syncwarp();  // everyone has read this slot, which is filled next
      }
    }
#pragma unroll
    for (int stream = 0; stream < kStreams; ++stream) {
      float* to = sums + (warp * kStreams + stream) * each;
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int r = 2 * c + i % 2;
        if (r < l.a.rows) to[r * 16 + lane / 4 + i / 2 * 8] = total[stream][i];
      }
    }
    __syncthreads();
    join<kStreams>(l, tile, sums);
    __syncthreads();  // before the next sums
  }
}

template <class Format, int kStreams>
void launch(Launch& l, const CardLimits& card, cudaStream_t stream) {
  const FewRowsShape shape{l.a.rows,
                           l.tiles,
                           l.pieces,
                           kStreams,
                           Format::kPieceBytes,
                           Format::kPadding,
                           kSplitFloats / (16 * l.a.rows)};
  l.plan = plan_few_rows(shape, card);
  const int all = l.a.rows;
  const FewRowsArgs whole = l.a;
  static_assert(sizeof(Launch) < 4096, "parameters of a kernel");
  cudaFuncSetAttribute(few_rows<Format, kStreams>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                       l.plan.shared_bytes);
  for (int first = 0; first < all; first += l.plan.rows) {
    l.a.rows = std::min(l.plan.rows, all - first);
    l.a.x = whole.x + static_cast<int64_t>(first) * whole.in;
    for (int i = 0; i < whole.count; ++i) {
      l.a.outputs[i].out = whole.outputs[i].out + first * whole.outputs[i].weight.rows.out;
    }
    launch_overlapped(
        few_rows<Format, kStreams>, l,
        dim3(static_cast<unsigned>(l.plan.blocks), static_cast<unsigned>(l.plan.splits)), kThreads,
        static_cast<size_t>(l.plan.shared_bytes), stream);
  }
}

template <class Format>
void launch(Launch& l, const CardLimits& card, cudaStream_t stream) {
  if (l.a.epilogue == Epilogue::gated) return launch<Format, 2>(l, card, stream);
  launch<Format, 1>(l, card, stream);
}

}  // namespace

bool fast_few_rows_apply(const FastMatrix& weight, const CardLimits& card) {
  const auto fits = [&](int piece_bytes, int padding) {
    const auto tiles = static_cast<int>((weight.rows.out + kTileRows - 1) / kTileRows);
    const auto pieces = static_cast<int>((weight.rows.in + kTileColumns - 1) / kTileColumns);
    return plan_few_rows({1, tiles, pieces, 2, piece_bytes, padding, kSplitFloats / 16}, card)
               .stages > 0;
  };
  switch (weight.rows.format) {
    case WeightFormat::int4:
      return weight.tiled && fits(TiledInt4::kPieceBytes, TiledInt4::kPadding);
    case WeightFormat::int8:
      return weight.group_shift >= 0 && fits(RowsInt8::kPieceBytes, RowsInt8::kPadding);
    case WeightFormat::bf16:
      return fits(RowsBf16::kPieceBytes, RowsBf16::kPadding);
    case WeightFormat::f32:
      break;
  }
  return false;
}

void fast_few_rows(const FewRowsArgs& args, const CardLimits& card, cudaStream_t stream) {
  Launch l{};
  l.a = args;
  l.pieces = static_cast<int>((args.in + kTileColumns - 1) / kTileColumns);
  for (int i = 0; i < args.count; ++i) {
    l.first_tile[i] = l.tiles;
    if (args.epilogue == Epilogue::gated && i > 0) break;
    l.tiles += static_cast<int>((args.outputs[i].weight.rows.out + kTileRows - 1) / kTileRows);
  }
  const auto address = reinterpret_cast<uintptr_t>(args.x) | reinterpret_cast<uintptr_t>(args.norm);
  l.aligned = address % 16 == 0 && args.in % 4 == 0;
  switch (args.outputs[0].weight.rows.format) {
    case WeightFormat::int4:
      return launch<TiledInt4>(l, card, stream);
    case WeightFormat::int8:
      return launch<RowsInt8>(l, card, stream);
    default:
      return launch<RowsBf16>(l, card, stream);
  }
}

}  // namespace squint::cuda
