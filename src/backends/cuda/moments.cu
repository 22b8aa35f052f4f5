// What the quantizer asks of weights and of sums over tokens: a value a thread.
#include "backends/cuda/group_scale.cuh"
#include "backends/cuda/quantizer_kernels.h"

namespace squint::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kTile = 32;
const dim3 kTileThreads(kTile, 8);

unsigned blocks_for(int64_t count, int64_t each) {
  return static_cast<unsigned>((count + each - 1) / each);
}

__device__ int64_t this_thread() {
  return static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
}

__global__ void combine_kernel(float a, const float* x, float b, float* out, int64_t count) {
  const int64_t i = this_thread();
  if (i < count) out[i] = __fadd_rn(__fmul_rn(a, x[i]), __fmul_rn(b, out[i]));
}

// A tile on or above the diagonal, divided, and its mirror image.
__global__ void finish_kernel(float* m, int64_t n, double weight, int* infinite) {
  __shared__ float tile[kTile][kTile + 1];
  const int64_t row = static_cast<int64_t>(blockIdx.y) * kTile;
  const int64_t column = static_cast<int64_t>(blockIdx.x) * kTile;
  if (column < row) return;
  for (int i = threadIdx.y; i < kTile; i += blockDim.y) {
    const int64_t r = row + i;
    const int64_t c = column + threadIdx.x;
    if (r >= n || c >= n || c < r) continue;
    const auto value = static_cast<float>(m[r * n + c] / weight);
    tile[i][threadIdx.x] = value;
    m[r * n + c] = value;
    if (!isfinite(value)) *infinite = 1;
  }
  __syncthreads();
  for (int i = threadIdx.y; i < kTile; i += blockDim.y) {
    const int64_t r = column + i;  // of the mirror image
    const int64_t c = row + threadIdx.x;
    if (r < n && c < r) m[r * n + c] = tile[threadIdx.x][i];
  }
}

__global__ void divide_kernel(float* m, int64_t count, int64_t n, double divisor,
                              const float* factors, int* infinite) {
  const int64_t i = this_thread();
  if (i >= count) return;
  const double factor = factors == nullptr ? 1 : factors[i % n];
  m[i] = static_cast<float>(m[i] / (divisor * factor));
  if (!isfinite(m[i])) *infinite = 1;
}

__global__ void diagonal_kernel(const float* m, int64_t n, float* out) {
  const int64_t i = this_thread();
  if (i < n) out[i] = m[i * n + i];
}

__global__ void add_diagonal_kernel(float* m, int64_t n, double relative, double absolute) {
  const int64_t i = this_thread();
  if (i >= n) return;
  const float value = m[i * n + i];
  m[i * n + i] = static_cast<float>(value + relative * value + absolute);
}

__global__ void reorder_kernel(const float* m, int64_t n, const int32_t* order, float* out) {
  const int64_t j = this_thread();
  const int64_t i = blockIdx.y;
  if (j >= i && j < n) out[i * n + j] = m[order[i] * n + order[j]];
}

__global__ void reverse_kernel(float* values, int64_t count) {
  const int64_t i = this_thread();
  if (i >= count / 2) return;
  const float first = values[i];
  values[i] = values[count - 1 - i];
  values[count - 1 - i] = first;
}

// A block a row.
__global__ void feedback_kernel(float* values, int64_t n) {
  const int64_t k = blockIdx.x;
  const double diagonal = values[k * n + k];
  __syncthreads();  // before it is overwritten
  for (int64_t j = threadIdx.x; j < n; j += kThreads) {
    float& value = values[k * n + j];
    value = j < k ? static_cast<float>(value / diagonal) : 0.0f;
  }
}

__global__ void scale_kernel(ScaleArgs args) {
  const int64_t i = this_thread();
  if (i >= args.rows * args.in) return;
  float w = from_bf16(args.weight[i]);
  if (args.column_factors != nullptr) w = __fmul_rn(w, args.column_factors[i % args.in]);
  if (args.row_factors != nullptr) w = __fdiv_rn(w, args.row_factors[i / args.in]);
  if (args.out != nullptr) {
    args.out[i] = w;
  } else {
    args.rounded[i] = static_cast<uint16_t>(__float_as_uint(to_bf16(w)) >> 16);
  }
}

}  // namespace

void combine(float a, const float* x, float b, float* out, int64_t count, cudaStream_t stream) {
  combine_kernel<<<blocks_for(count, kThreads), kThreads, 0, stream>>>(a, x, b, out, count);
}

void finish_moment(float* m, int64_t n, double weight, int* infinite, cudaStream_t stream) {
  const dim3 grid(blocks_for(n, kTile), blocks_for(n, kTile));
  finish_kernel<<<grid, kTileThreads, 0, stream>>>(m, n, weight, infinite);
}

void divide_columns(float* m, int64_t rows, int64_t n, double divisor, const float* factors,
                    int* infinite, cudaStream_t stream) {
  divide_kernel<<<blocks_for(rows * n, kThreads), kThreads, 0, stream>>>(m, rows * n, n, divisor,
                                                                         factors, infinite);
}

void diagonal(const float* m, int64_t n, float* out, cudaStream_t stream) {
  diagonal_kernel<<<blocks_for(n, kThreads), kThreads, 0, stream>>>(m, n, out);
}

void add_to_diagonal(float* m, int64_t n, double relative, double absolute, cudaStream_t stream) {
  add_diagonal_kernel<<<blocks_for(n, kThreads), kThreads, 0, stream>>>(m, n, relative, absolute);
}

void reorder(const float* m, int64_t n, const int32_t* order, float* out, cudaStream_t stream) {
  const dim3 grid(blocks_for(n, kThreads), static_cast<unsigned>(n));
  reorder_kernel<<<grid, kThreads, 0, stream>>>(m, n, order, out);
}

void make_feedback(float* factor, int64_t n, cudaStream_t stream) {
  reverse_kernel<<<blocks_for(n * n / 2 + 1, kThreads), kThreads, 0, stream>>>(factor, n * n);
  feedback_kernel<<<static_cast<unsigned>(n), kThreads, 0, stream>>>(factor, n);
}

void scale_weight(const ScaleArgs& args, cudaStream_t stream) {
  scale_kernel<<<blocks_for(args.rows * args.in, kThreads), kThreads, 0, stream>>>(args);
}

}  // namespace squint::cuda
