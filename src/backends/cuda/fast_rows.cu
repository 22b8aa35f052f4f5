// Heads on their way into the caches of fast mode: normalised, rotated, rounded to bf16.
#include <algorithm>

#include "backends/cuda/block_sum.cuh"
#include "backends/cuda/fast_kernels.h"
#include "backends/cuda/mma.cuh"

namespace squint::cuda {
namespace {

constexpr int kWarps = 4;
constexpr int kPairs = static_cast<int>(kMaxHeadDim) / 2 / 32;  // of a lane

enum class Kind { query, key, value };

__device__ void store(const FastCache& cache, uint16_t* plane, int head, int position, int d,
                      float x) {
  const int64_t at = (static_cast<int64_t>(head) * cache.capacity + position) * cache.stride + d;
  *reinterpret_cast<__nv_bfloat16*>(plane + at) = __float2bfloat16_rn(x);
}

// x of a head as pairs (i, i + half), normalised and rotated in place.
__device__ void rotate_pairs(const AppendArgs& a, const float* norm, int64_t token, int lane,
                             float (&x)[kPairs], float (&y)[kPairs]) {
  const int half = a.head_dim / 2;
  float squares = 0;
  for (int i = 0; i < kPairs; ++i) squares = fmaf(x[i], x[i], fmaf(y[i], y[i], squares));
  const float mean = warp_sum(squares) / static_cast<float>(a.head_dim);
  const float inverse = 1.0f / sqrtf(mean + a.eps);
  for (int i = 0; i < kPairs; ++i) {
    const int d = lane + 32 * i;
    if (d >= half) continue;
    const float u = x[i] * inverse * norm[d];
    const float v = y[i] * inverse * norm[d + half];
    const float c = a.cosine[token * half + d];
    const float s = a.sine[token * half + d];
    x[i] = u * c - v * s;
    y[i] = v * c + u * s;
  }
}

// A warp a head of a token: first the queries', then the keys', then the values'.
__global__ void __launch_bounds__(32 * kWarps) append(const __grid_constant__ AppendArgs a) {
  wait_for_predecessor();
  const FastSlice& slice = a.slices[blockIdx.y];
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int unit = static_cast<int>(blockIdx.x * kWarps + threadIdx.x / 32);
  const int queries = a.query != nullptr ? a.heads : 0;
  const int units = queries + 2 * a.kv_heads;
  const int row = unit / units;
  if (row >= slice.count) return;
  const int64_t token = slice.begin + row;
  int head = unit % units;
  const Kind kind = head < queries                ? Kind::query
                    : head < queries + a.kv_heads ? Kind::key
                                                  : Kind::value;
  head -= kind == Kind::query ? 0 : kind == Kind::key ? queries : queries + a.kv_heads;
  const float* from = kind == Kind::query ? a.query + (token * a.heads + head) * a.head_dim
                      : kind == Kind::key ? a.key + (token * a.kv_heads + head) * a.head_dim
                                          : a.value + (token * a.kv_heads + head) * a.head_dim;
  // An odd width has a value in the middle, which only plain appending meets.
  const int half = (a.head_dim + 1) / 2;
  float x[kPairs];
  float y[kPairs];
  for (int i = 0; i < kPairs; ++i) {
    const int d = lane + 32 * i;
    x[i] = d < half ? from[d] : 0.0f;
    y[i] = d < half && d + half < a.head_dim ? from[d + half] : 0.0f;
  }
  const float* norm = kind == Kind::query ? a.query_norm : a.key_norm;
  if (kind != Kind::value && norm != nullptr) rotate_pairs(a, norm, token, lane, x, y);
  for (int i = 0; i < kPairs; ++i) {
    const int d = lane + 32 * i;
    if (d >= half) continue;
    if (kind != Kind::value && norm != nullptr) {
      float* to = kind == Kind::query ? a.query + (token * a.heads + head) * a.head_dim
                                      : a.key + (token * a.kv_heads + head) * a.head_dim;
      to[d] = x[i];
      to[d + half] = y[i];
    }
    if (kind == Kind::query) continue;
    uint16_t* plane = kind == Kind::key ? slice.cache.keys : slice.cache.values;
    store(slice.cache, plane, head, slice.position + row, d, x[i]);
    if (d + half < a.head_dim) {
      store(slice.cache, plane, head, slice.position + row, d + half, y[i]);
    }
  }
}

}  // namespace

void append_fast(const AppendArgs& a, cudaStream_t stream) {
  static_assert(sizeof(AppendArgs) < 4096, "parameters of a kernel");
  int most = 0;
  for (int i = 0; i < a.count; ++i) most = std::max(most, a.slices[i].count);
  const int units = most * ((a.query != nullptr ? a.heads : 0) + 2 * a.kv_heads);
  launch_overlapped(
      append, a,
      dim3(static_cast<unsigned>((units + kWarps - 1) / kWarps), static_cast<unsigned>(a.count)),
      32 * kWarps, 0, stream);
}

}  // namespace squint::cuda
