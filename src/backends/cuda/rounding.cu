// Rounding that looks at the whole row: what one thread does for its row, between the products
// (card_rounding.cpp). backends/cpu/rounding_kernel.h says where it comes from.
#include <cfloat>

#include "backends/cuda/group_scale.cuh"
#include "backends/cuda/quantizer_kernels.h"

namespace squint::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kBlockRows = 64;  // of kernels that keep kColumnsAtOnce values a row
constexpr int kTile = 32;
constexpr int kColumns = static_cast<int>(kColumnsAtOnce);

// Ranges tried: 1 - 0.0075 k of the largest weight.
constexpr int kWidestRange = -14;
constexpr int kNarrowestRange = 60;  // exclusive

unsigned blocks_for(int64_t count, int64_t each) {
  return static_cast<unsigned>((count + each - 1) / each);
}

// The nearest integer to w, with the zero point taken off: what the scale is multiplied with.
__device__ float code_of(const SchemeArgs& s, float w_over_scale, float zero) {
  return fminf(fmaxf(rintf(w_over_scale + zero), s.lowest), s.highest) - zero;
}

__global__ void transpose_kernel(const float* from, int64_t rows, int64_t columns, float* to) {
  __shared__ float tile[kTile][kTile + 1];
  const int64_t row = static_cast<int64_t>(blockIdx.y) * kTile;
  const int64_t column = static_cast<int64_t>(blockIdx.x) * kTile;
  for (int i = threadIdx.y; i < kTile; i += blockDim.y) {
    if (row + i < rows && column + threadIdx.x < columns) {
      tile[i][threadIdx.x] = from[(row + i) * columns + column + threadIdx.x];
    }
  }
  __syncthreads();
  for (int i = threadIdx.y; i < kTile; i += blockDim.y) {
    if (column + i < columns && row + threadIdx.x < rows) {
      to[(column + i) * rows + row + threadIdx.x] = tile[threadIdx.x][i];
    }
  }
}

__global__ void gather_kernel(const float* from, const int32_t* order, int64_t columns, float* to) {
  const float* row = from + order[blockIdx.y] * columns;
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i < columns) to[blockIdx.y * columns + i] = row[i];
}

// A group of one row.
class Range {
 public:
  __device__ Range(const RowsArgs& args, const float* importance, int64_t group, int64_t row)
      : args_(args),
        weight_(args.weight + group * args.group_columns * args.rows + row),
        importance_(importance + group * args.group_columns) {
    low = 0;
    high = 0;
    for (int64_t i = 0; i < args.group_columns; ++i) {
      low = fminf(low, weight_[i * args.rows]);
      high = fmaxf(high, weight_[i * args.rows]);
    }
  }

  __device__ GroupScale part(float p) const {
    const SchemeArgs& s = args_.scheme;
    const float bottom = low * p;
    const float top = high * p;
    GroupScale g{0, 0};
    g.scale = s.symmetric ? to_bf16(fmaxf(-bottom, top) / ((s.highest - s.lowest) / 2))
                          : to_bf16((top - bottom) / (s.highest - s.lowest));
    if (g.scale == 0) g.scale = kEpsilon;
    if (!s.symmetric) {
      g.zero = fminf(fmaxf(rintf(s.lowest - bottom / g.scale), s.lowest), s.highest);
    }
    return g;
  }

  __device__ float error_with(const GroupScale& g) const {
    const float inverse = 1 / g.scale;
    float sum = 0;
    for (int64_t i = 0; i < args_.group_columns; ++i) {
      const float w = weight_[i * args_.rows];
      const float e = w - code_of(args_.scheme, w * inverse, g.zero) * g.scale;
      sum = fmaf(e * e, importance_[i], sum);
    }
    return sum;
  }

  // Of the scale, where the end that reaches further is exactly the lowest integer.
  __device__ float better_sign() const {
    const SchemeArgs& s = args_.scheme;
    if (!s.signed_scales) return 1;
    GroupScale g = part((s.highest - s.lowest) / (-2 * s.lowest));
    const float positive = error_with(g);
    g.scale = -g.scale;
    return error_with(g) < positive ? -1.0f : 1.0f;
  }

  float low;
  float high;

 private:
  const RowsArgs& args_;
  const float* weight_;
  const float* importance_;
};

__global__ void range_kernel(RowsArgs args, const float* importance, bool search) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (row >= args.rows) return;
  const int64_t group = blockIdx.y;
  const Range range(args, importance, group, row);
  const float sign = range.better_sign();
  GroupScale best{0, 0};
  float least = FLT_MAX;
  const int first = search ? kWidestRange : 0;
  const int end = search ? kNarrowestRange : 1;
  for (int k = first; k < end; ++k) {
    GroupScale tried = range.part(1 - 0.0075f * static_cast<float>(k));
    tried.scale *= sign;
    const float error = search ? range.error_with(tried) : 0;
    if (!(error < least) && k > first) continue;
    least = error;
    best = tried;
  }
  args.scales[group * args.rows + row] = best.scale;
  args.zeros[group * args.rows + row] = best.zero;
}

__device__ int64_t group_at(const RowsArgs& args, int64_t column, int64_t row) {
  return column / args.group_columns * args.rows + row;
}

__global__ void alone_kernel(RowsArgs args) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (row >= args.rows) return;
  const int64_t column = blockIdx.y;
  const int64_t at = column * args.rows + row;
  const int64_t group = group_at(args, column, row);
  args.codes[at] = code_of(args.scheme, args.weight[at] / args.scales[group], args.zeros[group]);
}

// Column after column, each taking over the errors made so far within the block.
__global__ void block_kernel(RowsArgs args, const int32_t* order, int count, const float* feedback,
                             const float* targets, float* errors) {
  __shared__ float f[kColumns][kColumns];
  __shared__ float mine[kColumns][kBlockRows];
  for (int i = threadIdx.x; i < count * count; i += kBlockRows) {
    f[i / count][i % count] = feedback[i / count * args.in + i % count];
  }
  __syncthreads();
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kBlockRows + threadIdx.x;
  if (row >= args.rows) return;
  for (int k = 0; k < count; ++k) {
    float sums[4] = {targets[k * args.rows + row], 0, 0, 0};
    int j = 0;
    for (; j + 4 <= k; j += 4) {
#pragma unroll
      for (int m = 0; m < 4; ++m) {
        sums[m] = fmaf(f[k][j + m], mine[j + m][threadIdx.x], sums[m]);
      }
    }
    for (; j < k; ++j) sums[0] = fmaf(f[k][j], mine[j][threadIdx.x], sums[0]);
    const float target = (sums[0] + sums[1]) + (sums[2] + sums[3]);
    const int64_t column = order[k];
    const int64_t group = group_at(args, column, row);
    const float scale = args.scales[group];
    const float code = code_of(args.scheme, target / scale, args.zeros[group]);
    const int64_t at = column * args.rows + row;
    args.codes[at] = code;
    mine[k][threadIdx.x] = args.weight[at] - code * scale;
    errors[k * args.rows + row] = mine[k][threadIdx.x];
  }
}

__global__ void error_kernel(RowsArgs args, float* errors) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (row >= args.rows) return;
  const int64_t at = blockIdx.y * args.rows + row;
  errors[at] = args.weight[at] - args.codes[at] * args.scales[group_at(args, blockIdx.y, row)];
}

// With ŵ = c s, a step d of the scale changes the error by -2 d (R·c) + d² (c H cᵀ).
__global__ void refit_kernel(RowsArgs args, int64_t group, const float* first_scales,
                             const float* residual, float* products) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (row >= args.rows) return;
  const int64_t begin = group * args.group_columns * args.rows + row;
  float slope = 0;
  float curve = 0;
  for (int64_t i = 0; i < args.group_columns; ++i) {
    const float code = args.codes[begin + i * args.rows];
    slope = fmaf(residual[begin + i * args.rows], code, slope);
    curve = fmaf(products[i * args.rows + row], code, curve);
  }
  float& scale = args.scales[group * args.rows + row];
  const float first = first_scales[group * args.rows + row];
  const float wanted = to_bf16(scale + slope / curve);
  float step = wanted - scale;
  const bool near = wanted / first > 0.5f && wanted / first < 1.5f;
  if (!(curve > 0) || !near || !(step * step * curve < 2 * step * slope)) step = 0;
  if (step != 0) scale = wanted;
  for (int64_t i = 0; i < args.group_columns; ++i) {
    products[i * args.rows + row] = step * args.codes[begin + i * args.rows];
  }
}

// One integer after another, as in block_kernel.
__global__ void move_kernel(RowsArgs args, const int32_t* order, int count, const float* hessian,
                            const float* residual, float* changes) {
  __shared__ float h[kColumns][kColumns];
  __shared__ float mine[kColumns][kBlockRows];
  for (int i = threadIdx.x; i < count * count; i += kBlockRows) {
    h[i / count][i % count] = hessian[order[i / count] * args.in + order[i % count]];
  }
  __syncthreads();
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kBlockRows + threadIdx.x;
  if (row >= args.rows) return;
  for (int k = 0; k < count; ++k) {
    const int64_t column = order[k];
    const int64_t at = column * args.rows + row;
    float left = residual[at];
    for (int j = 0; j < k; ++j) left = fmaf(-mine[j][threadIdx.x], h[k][j], left);
    const int64_t group = group_at(args, column, row);
    const float scale = args.scales[group];
    const float old = args.codes[at];
    const float code = code_of(args.scheme, old + left / (h[k][k] * scale), args.zeros[group]);
    args.codes[at] = code;
    mine[k][threadIdx.x] = (code - old) * scale;
    changes[k * args.rows + row] = mine[k][threadIdx.x];
  }
}

__global__ void store_kernel(RowsArgs args, int8_t* codes) {
  __shared__ float tile[kTile][kTile + 1];
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kTile;
  const int64_t column = static_cast<int64_t>(blockIdx.y) * kTile;
  for (int i = threadIdx.y; i < kTile; i += blockDim.y) {
    if (column + i >= args.in || row + threadIdx.x >= args.rows) continue;
    const int64_t at = (column + i) * args.rows + row + threadIdx.x;
    tile[i][threadIdx.x] =
        args.codes[at] + args.zeros[group_at(args, column + i, row + threadIdx.x)];
  }
  __syncthreads();
  for (int i = threadIdx.y; i < kTile; i += blockDim.y) {
    if (row + i < args.rows && column + threadIdx.x < args.in) {
      codes[(row + i) * args.in + column + threadIdx.x] = static_cast<int8_t>(tile[threadIdx.x][i]);
    }
  }
}

__global__ void store_groups_kernel(RowsArgs args, int64_t groups, uint16_t* scales,
                                    int8_t* zeros) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (row >= args.rows) return;
  const int64_t from = blockIdx.y * args.rows + row;
  const int64_t to = row * groups + blockIdx.y;
  scales[to] = static_cast<uint16_t>(__float_as_uint(args.scales[from]) >> 16);
  zeros[to] = static_cast<int8_t>(args.zeros[from]);
}

dim3 by_row(const RowsArgs& args, int64_t others) {
  return {blocks_for(args.rows, kThreads), static_cast<unsigned>(others)};
}

int64_t groups_of(const RowsArgs& args) { return args.in / args.group_columns; }

const dim3 kTileThreads(kTile, 8);

}  // namespace

void transpose(const float* from, int64_t rows, int64_t columns, float* to, cudaStream_t stream) {
  const dim3 grid(blocks_for(columns, kTile), blocks_for(rows, kTile));
  transpose_kernel<<<grid, kTileThreads, 0, stream>>>(from, rows, columns, to);
}

void gather_rows(const float* from, const int32_t* order, int64_t count, int64_t columns, float* to,
                 cudaStream_t stream) {
  const dim3 grid(blocks_for(columns, kThreads), static_cast<unsigned>(count));
  gather_kernel<<<grid, kThreads, 0, stream>>>(from, order, columns, to);
}

void find_ranges(const RowsArgs& args, const float* importance, bool search, cudaStream_t stream) {
  range_kernel<<<by_row(args, groups_of(args)), kThreads, 0, stream>>>(args, importance, search);
}

void round_alone(const RowsArgs& args, cudaStream_t stream) {
  alone_kernel<<<by_row(args, args.in), kThreads, 0, stream>>>(args);
}

void round_block(const RowsArgs& args, const int32_t* order, int64_t count, const float* feedback,
                 const float* targets, float* errors, cudaStream_t stream) {
  block_kernel<<<blocks_for(args.rows, kBlockRows), kBlockRows, 0, stream>>>(
      args, order, static_cast<int>(count), feedback, targets, errors);
}

void rounding_errors(const RowsArgs& args, float* errors, cudaStream_t stream) {
  error_kernel<<<by_row(args, args.in), kThreads, 0, stream>>>(args, errors);
}

void refit_scales(const RowsArgs& args, int64_t group, const float* first_scales,
                  const float* residual, float* products, cudaStream_t stream) {
  refit_kernel<<<blocks_for(args.rows, kThreads), kThreads, 0, stream>>>(args, group, first_scales,
                                                                         residual, products);
}

void move_integers(const RowsArgs& args, const int32_t* order, int64_t count, const float* hessian,
                   const float* residual, float* changes, cudaStream_t stream) {
  move_kernel<<<blocks_for(args.rows, kBlockRows), kBlockRows, 0, stream>>>(
      args, order, static_cast<int>(count), hessian, residual, changes);
}

void store_codes(const RowsArgs& args, int8_t* codes, uint16_t* scales, int8_t* zeros,
                 cudaStream_t stream) {
  const dim3 grid(blocks_for(args.rows, kTile), blocks_for(args.in, kTile));
  store_kernel<<<grid, kTileThreads, 0, stream>>>(args, codes);
  store_groups_kernel<<<by_row(args, groups_of(args)), kThreads, 0, stream>>>(args, groups_of(args),
                                                                              scales, zeros);
}

}  // namespace squint::cuda
