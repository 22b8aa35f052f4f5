// What works on rows: norms, rotary embedding, the cache.
#include <algorithm>

#include "backends/cuda/block_sum.cuh"
#include "backends/cuda/kernels.h"

namespace squint::cuda {
namespace {

constexpr int kThreads = 256;

// A block a row. Rows of a head take one warp, so that nobody waits at a barrier.
unsigned norm_threads(int64_t n) {
  return static_cast<unsigned>(std::clamp<int64_t>((n / 4 + 31) / 32 * 32, 32, 512));
}

unsigned blocks_for(int64_t n) { return static_cast<unsigned>((n + kThreads - 1) / kThreads); }

__global__ void rms_norm_kernel(NormArgs a) {
  __shared__ float parts[32];
  const float* x = a.x + blockIdx.x * a.n;
  float* out = a.out + blockIdx.x * a.n;
  float squares = 0;
  for (int64_t i = threadIdx.x; i < a.n; i += blockDim.x) squares = fmaf(x[i], x[i], squares);
  const float mean = block_sum(squares, parts) / static_cast<float>(a.n);
  const float inverse = 1.0f / sqrtf(mean + a.eps);
  for (int64_t i = threadIdx.x; i < a.n; i += blockDim.x) out[i] = x[i] * inverse * a.weight[i];
}

__global__ void layer_norm_kernel(NormArgs a) {
  __shared__ float parts[32];
  const float* x = a.x + blockIdx.x * a.n;
  float* out = a.out + blockIdx.x * a.n;
  const auto count = static_cast<float>(a.n);
  float sum = 0;
  for (int64_t i = threadIdx.x; i < a.n; i += blockDim.x) sum += x[i];
  const float mean = block_sum(sum, parts) / count;
  float squares = 0;
  for (int64_t i = threadIdx.x; i < a.n; i += blockDim.x) {
    squares = fmaf(x[i] - mean, x[i] - mean, squares);
  }
  const float inverse = 1.0f / sqrtf(block_sum(squares, parts) / count + a.eps);
  for (int64_t i = threadIdx.x; i < a.n; i += blockDim.x) {
    out[i] = fmaf((x[i] - mean) * inverse, a.weight[i], a.bias[i]);
  }
}

__global__ void rotate_kernel(RotateArgs a) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= a.tokens * a.heads * a.half) return;
  const int64_t pair = i % a.half;
  const int64_t head = i / a.half;
  const int64_t at = head / a.heads * a.half + pair;
  float* first = a.x + head * 2 * a.half + pair;
  const float c = a.cosine[at];
  const float s = a.sine[at];
  const float x = first[0];
  const float y = first[a.half];
  first[0] = x * c - y * s;
  first[a.half] = y * c + x * s;
}

__global__ void append_kv_kernel(const float* keys, const float* values, int64_t count,
                                 CacheView cache) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= count) return;
  const int64_t d = i % cache.head_dim;
  const int64_t head = i / cache.head_dim % cache.heads;
  const int64_t token = i / cache.head_dim / cache.heads;
  const int64_t to = (head * cache.capacity + cache.length + token) * cache.stride + d;
  cache.keys[to] = keys[i];
  cache.values[to] = values[i];
}

}  // namespace

void rms_norm(const NormArgs& a, cudaStream_t stream) {
  rms_norm_kernel<<<static_cast<unsigned>(a.rows), norm_threads(a.n), 0, stream>>>(a);
}

void layer_norm(const NormArgs& a, cudaStream_t stream) {
  layer_norm_kernel<<<static_cast<unsigned>(a.rows), norm_threads(a.n), 0, stream>>>(a);
}

void rotate(const RotateArgs& a, cudaStream_t stream) {
  rotate_kernel<<<blocks_for(a.tokens * a.heads * a.half), kThreads, 0, stream>>>(a);
}

void append_kv(const float* keys, const float* values, int64_t tokens, const CacheView& cache,
               cudaStream_t stream) {
  const int64_t count = tokens * cache.heads * cache.head_dim;
  append_kv_kernel<<<blocks_for(count), kThreads, 0, stream>>>(keys, values, count, cache);
}

}  // namespace squint::cuda
