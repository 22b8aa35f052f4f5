// softmax(q·k scale) v for few queries: the cache is cut into splits, a block each, so that one
// query keeps the whole card reading. A block goes through its keys in pieces:
//
//     scores   8 lanes a key, 16 bytes each: 128 bytes of a key side by side
//     output   a thread a column, over the keys of the piece
//
// and leaves its maximum, its total and its unscaled output; a second kernel joins the splits.
#include <algorithm>

#include "backends/cuda/block_sum.cuh"
#include "backends/cuda/kernels.h"

namespace squint::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kPiece = 256;  // keys
constexpr int kLanes = 8;    // a key
constexpr int64_t kMostSplits = 64;
static_assert(kThreads >= kMaxHeadDim);

struct Splits {
  int64_t count;
  int64_t keys;    // of each, whole pieces
  float* out;      // [tokens, heads, count, head_dim]
  float* largest;  // [tokens, heads, count]
  float* total;    // [tokens, heads, count]
};

// q·k of the keys [first, first + count) into scores; q is padded with zeros to the cache's stride.
__device__ void score(const AttentionLaunch& a, const float* q, const float* keys, int64_t first,
                      int count, float* scores) {
  const int sub = static_cast<int>(threadIdx.x) % kLanes;
  const int fours = static_cast<int>(a.cache.stride) / 4;
  for (int base = 0; base < count; base += kThreads / kLanes) {
    const int k = base + static_cast<int>(threadIdx.x) / kLanes;
    float sum = 0;
    if (k < count) {
      const auto* row = reinterpret_cast<const float4*>(keys + (first + k) * a.cache.stride);
      for (int f = sub; f < fours; f += kLanes) {
        const float4 x = __ldg(row + f);
        const float4 y = reinterpret_cast<const float4*>(q)[f];
        sum = fmaf(x.x, y.x, fmaf(x.y, y.y, fmaf(x.z, y.z, fmaf(x.w, y.w, sum))));
      }
    }
    for (int step = kLanes / 2; step > 0; step /= 2) sum += __shfl_xor_sync(~0u, sum, step);
    if (k < count && sub == 0) scores[k] = sum * a.scale;
  }
}

__global__ void __launch_bounds__(kThreads) attend(AttentionLaunch a, Splits splits) {
  __shared__ __align__(16) float q[kMaxHeadDim];
  __shared__ float scores[kPiece];
  __shared__ float parts[32];
  const int64_t split = blockIdx.x;
  const int64_t head = blockIdx.y;
  const int64_t token = blockIdx.z;
  const int64_t kv_head = head / (a.heads / a.cache.heads);
  const int64_t plane = kv_head * a.cache.capacity * a.cache.stride;
  const int d = static_cast<int>(threadIdx.x);
  const int64_t width = a.cache.head_dim;
  const int64_t row = token * a.heads + head;
  if (d < kMaxHeadDim) q[d] = d < width ? a.query[row * width + d] : 0.0f;
  __syncthreads();

  const int64_t visible = a.causal ? a.first_position + token + 1 : a.cache.length;
  const int64_t end = min(visible, (split + 1) * splits.keys);
  float out = 0;
  float largest = -INFINITY;
  float total = 0;
  for (int64_t first = split * splits.keys; first < end; first += kPiece) {
    const int count = static_cast<int>(min(static_cast<int64_t>(kPiece), end - first));
    score(a, q, a.cache.keys + plane, first, count, scores);
    __syncthreads();
    float highest = -INFINITY;
    for (int k = d; k < count; k += kThreads) highest = fmaxf(highest, scores[k]);
    const float next = fmaxf(largest, block_max(highest, parts));
    const float shrink = expf(largest - next);
    float sum = 0;
    for (int k = d; k < count; k += kThreads) sum += scores[k] = expf(scores[k] - next);
    total = total * shrink + block_sum(sum, parts);
    largest = next;
    __syncthreads();  // everyone's weights are there
    out *= shrink;
    if (d < width) {
      const float* values = a.cache.values + plane + first * a.cache.stride + d;
#pragma unroll 8
      for (int k = 0; k < count; ++k) out = fmaf(scores[k], values[k * a.cache.stride], out);
    }
    __syncthreads();  // before the next scores
  }
  if (splits.count == 1) {
    if (d < width) a.out[row * width + d] = out / total;
    return;
  }
  const int64_t at = row * splits.count + split;
  if (d < width) splits.out[at * width + d] = out;
  if (d == 0) {
    splits.largest[at] = largest;
    splits.total[at] = total;
  }
}

// A split that saw no key has a total of zero and a weight of e^-∞.
__global__ void __launch_bounds__(kThreads) join(AttentionLaunch a, Splits splits) {
  const int64_t row = static_cast<int64_t>(blockIdx.y) * a.heads + blockIdx.x;
  const int64_t width = a.cache.head_dim;
  const int64_t d = threadIdx.x;
  if (d >= width) return;
  const int64_t first = row * splits.count;
  float largest = -INFINITY;
  for (int64_t i = 0; i < splits.count; ++i) largest = fmaxf(largest, splits.largest[first + i]);
  float total = 0;
  float out = 0;
  for (int64_t i = 0; i < splits.count; ++i) {
    const float weight = expf(splits.largest[first + i] - largest);
    total = fmaf(splits.total[first + i], weight, total);
    out = fmaf(splits.out[(first + i) * width + d], weight, out);
  }
  a.out[row * width + d] = out / total;
}

}  // namespace

void attention_decode(const AttentionLaunch& a, float* workspace, int64_t workspace_bytes,
                      cudaStream_t stream) {
  const int64_t rows = a.tokens * a.heads;
  const int64_t floats = rows * (a.cache.head_dim + 2);  // a split
  const int64_t room = workspace_bytes / static_cast<int64_t>(sizeof(float)) / floats;
  const int64_t pieces = (a.cache.length + kPiece - 1) / kPiece;
  const int64_t most = std::clamp<int64_t>(std::min(pieces, room), 1, kMostSplits);
  const int64_t each = (pieces + most - 1) / most;
  Splits splits{};
  splits.count = (pieces + each - 1) / each;
  splits.keys = each * kPiece;
  splits.out = workspace;
  splits.largest = workspace + rows * splits.count * a.cache.head_dim;
  splits.total = splits.largest + rows * splits.count;
  const dim3 blocks(static_cast<unsigned>(splits.count), static_cast<unsigned>(a.heads),
                    static_cast<unsigned>(a.tokens));
  attend<<<blocks, kThreads, 0, stream>>>(a, splits);
  if (splits.count == 1) return;
  join<<<dim3(static_cast<unsigned>(a.heads), static_cast<unsigned>(a.tokens)), kThreads, 0,
         stream>>>(a, splits);
}

}  // namespace squint::cuda
