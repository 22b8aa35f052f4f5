// Heads on their way into the caches of fast mode: normalised, rotated, rounded to bf16.
#include <algorithm>

#include "backends/cuda/fast_heads.cuh"
#include "backends/cuda/fast_kernels.h"
#include "backends/cuda/mma.cuh"

namespace squint::cuda {
namespace {

constexpr int kWarps = 4;

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
  const int head = unit % units;
  if (head >= queries) {
    const bool key = head < queries + a.kv_heads;
    append_head(a.from, key, token, a.kv_heads, head - queries - (key ? 0 : a.kv_heads), a.head_dim,
                slice.cache, slice.position + row, lane);
    return;
  }
  float* at = a.query + (token * a.heads + head) * a.head_dim;
  HeadInLanes own;
  own.load(at, a.head_dim, lane);
  own.normalise_and_rotate(a.from, a.from.query_norm, token, a.head_dim, lane);
  own.each(a.head_dim, lane, [&](int i, float value) { at[i] = value; });
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
