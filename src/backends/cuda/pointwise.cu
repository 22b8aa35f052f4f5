// Operators without neighbours: a thread a value.
#include "backends/cuda/kernels.h"

namespace squint::cuda {
namespace {

constexpr int kThreads = 256;

// x / (1 + e^-y): with y = x silu, with y = 2u the tanh form of GELU, since
// (1 + tanh u) / 2 = 1 / (1 + e^-2u).
__device__ __forceinline__ float gated(float x, float y) { return x / (1.0f + expf(-y)); }

template <Pointwise kOp>
__device__ float value_of(float a, float b) {
  if (kOp == Pointwise::swiglu) return gated(a, a) * b;
  if (kOp == Pointwise::add) return a + b;
  if (kOp == Pointwise::gelu_erf) return 0.5f * a * (1.0f + erff(a * 0.70710678118654752f));
  // 2 sqrt(2/pi) (x + 0.044715 x³)
  return gated(a, fmaf(a * a * a, 0.044715f, a) * 1.5957691216057308f);
}

template <Pointwise kOp>
__global__ void pointwise_kernel(const float* a, const float* b, float* out, int64_t n) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i < n) out[i] = value_of<kOp>(a[i], b == nullptr ? 0.0f : b[i]);
}

__global__ void scale_rows_kernel(const float* x, const float* factor, int64_t count, int64_t n,
                                  float* out) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i < count) out[i] = x[i] * factor[i / n];
}

unsigned blocks_for(int64_t n) { return static_cast<unsigned>((n + kThreads - 1) / kThreads); }

template <Pointwise kOp>
void launch(const float* a, const float* b, float* out, int64_t n, cudaStream_t stream) {
  pointwise_kernel<kOp><<<blocks_for(n), kThreads, 0, stream>>>(a, b, out, n);
}

}  // namespace

void pointwise(Pointwise op, const float* a, const float* b, float* out, int64_t n,
               cudaStream_t stream) {
  switch (op) {
    case Pointwise::swiglu:
      return launch<Pointwise::swiglu>(a, b, out, n, stream);
    case Pointwise::gelu_tanh:
      return launch<Pointwise::gelu_tanh>(a, b, out, n, stream);
    case Pointwise::gelu_erf:
      return launch<Pointwise::gelu_erf>(a, b, out, n, stream);
    case Pointwise::add:
      return launch<Pointwise::add>(a, out, out, n, stream);
  }
}

void scale_rows(const float* x, const float* factor, int64_t rows, int64_t n, float* out,
                cudaStream_t stream) {
  scale_rows_kernel<<<blocks_for(rows * n), kThreads, 0, stream>>>(x, factor, rows * n, n, out);
}

bool kernels_run_here() {
  cudaFuncAttributes attributes{};
  const cudaError_t result = cudaFuncGetAttributes(&attributes, scale_rows_kernel);
  cudaGetLastError();
  return result == cudaSuccess;
}

namespace {

constexpr int kArgmaxThreads = 256;

struct Place {
  float value;
  int64_t at;
};

__device__ Place better(const Place& a, const Place& b) {
  if (a.value != b.value) return a.value > b.value ? a : b;
  return a.at < b.at ? a : b;
}

__device__ Place lanes_best(Place best) {
  for (int offset = 16; offset > 0; offset /= 2) {
    const Place other{__shfl_down_sync(0xffffffff, best.value, offset),
                      __shfl_down_sync(0xffffffff, best.at, offset)};
    best = better(best, other);
  }
  return best;
}

// A block takes a part of a row, its threads every kArgmaxThreads-th value.
__global__ void argmax_kernel(const float* x, int64_t n, int64_t count, int64_t part,
                              ArgmaxPlace* places) {
  __shared__ Place warps[kArgmaxThreads / 32];
  const float* row = x + blockIdx.y * n;
  const int64_t first = blockIdx.x * part;
  const int64_t end = first + part < count ? first + part : count;
  Place best{-INFINITY, first};
  for (int64_t i = first + threadIdx.x; i < end; i += kArgmaxThreads)
    best = better(best, {row[i], i});
  best = lanes_best(best);
  if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = best;
  __syncthreads();
  if (threadIdx.x >= 32) return;
  best = threadIdx.x < kArgmaxThreads / 32 ? warps[threadIdx.x] : Place{-INFINITY, count};
  best = lanes_best(best);
  if (threadIdx.x == 0) places[blockIdx.y * gridDim.x + blockIdx.x] = {best.value, best.at};
}

// A warp for each row.
__global__ void join_kernel(const ArgmaxPlace* places, int parts, int32_t* out) {
  Place best{-INFINITY, INT64_MAX};
  for (int i = threadIdx.x; i < parts; i += 32) {
    const ArgmaxPlace& p = places[blockIdx.x * parts + i];
    best = better(best, {p.value, p.at});
  }
  best = lanes_best(best);
  if (threadIdx.x == 0) out[blockIdx.x] = static_cast<int32_t>(best.at);
}

}  // namespace

void argmax(const ArgmaxArgs& args, cudaStream_t stream) {
  const int64_t part = (args.count + kArgmaxParts - 1) / kArgmaxParts;
  const dim3 grid(kArgmaxParts, static_cast<unsigned>(args.rows));
  argmax_kernel<<<grid, kArgmaxThreads, 0, stream>>>(args.x, args.n, args.count, part, args.places);
  join_kernel<<<static_cast<unsigned>(args.rows), 32, 0, stream>>>(
      args.places, static_cast<int>(kArgmaxParts), args.out);
}

}  // namespace squint::cuda
