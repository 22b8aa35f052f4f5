// softmax(q·k scale) v for few queries of bf16 caches: a block takes a split of the keys of one
// head and all queries that read them, so that a key is read once. Sixteen lanes, a team, share a
// key: sixteen bytes each. A team goes through its keys four at a time, values on their way while
// it computes scores, with a maximum, a total and an output of its own: nobody waits for anybody
// before the end. Then teams are joined in shared memory, and splits by the block that ends last.
//
// Where heads come as products made them, each block normalises and rotates the queries that it
// needs, and the block whose keys are the newest makes them first.
#include <algorithm>

#include "backends/cuda/block_sum.cuh"
#include "backends/cuda/fast_heads.cuh"
#include "backends/cuda/fast_kernels.h"
#include "backends/cuda/mma.cuh"

namespace squint::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kTeams = kThreads / 16;
constexpr int kOwn = kDecodePiece / kTeams;  // keys of a team in a piece
constexpr int kWidth = static_cast<int>(kMaxHeadDim);
static_assert(kThreads >= kMaxHeadDim);

struct Launch {
  FastAttention a;
  int group;   // query heads of a key head
  int chunks;  // of a slice's queries of a head
  int splits;
};

__device__ __forceinline__ void unpack(const uint4& v, float (&x)[8]) {
  const uint32_t words[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    x[2 * i] = low_float(words[i]);
    x[2 * i + 1] = high_float(words[i]);
  }
}

// What a team knows of its queries; lane `sub` has columns 8 sub onwards.
template <int kQueries>
struct Team {
  uint32_t query[kQueries][4];  // bf16 pairs
  int sees[kQueries];
  float largest[kQueries];
  float total[kQueries];
  float out[kQueries][8];
};

// Query i of a slice's head is that of token i / group, head i % group. None is of no token.
// `rotated` [kQueries][kWidth], or null: as they are in memory.
template <int kQueries>
__device__ void load_team(const Launch& l, const FastSlice& slice, int kv_head, int first, int sub,
                          const float* rotated, Team<kQueries>& t) {
#pragma unroll
  for (int q = 0; q < kQueries; ++q) {
    const int token = (first + q) / l.group;
    const int head = kv_head * l.group + (first + q) % l.group;
    const bool inside = token < slice.count;
    const int64_t row = static_cast<int64_t>(slice.begin + token) * l.a.heads + head;
    const float* from = rotated != nullptr ? rotated + q * kWidth : l.a.query + row * l.a.head_dim;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int d = 8 * sub + 2 * i;
      t.query[q][i] = bf16_pair(inside && d < l.a.head_dim ? from[d] : 0.0f,
                                inside && d + 1 < l.a.head_dim ? from[d + 1] : 0.0f);
    }
    const int length = slice.cache.length;
    t.sees[q] = l.a.causal ? min(slice.position + token + 1, length) : length;
    t.largest[q] = -INFINITY;
    t.total[q] = 0;
#pragma unroll
    for (int i = 0; i < 8; ++i) t.out[q][i] = 0;
  }
}

// Keys first + team, first + team + kTeams, ...
template <int kQueries>
__device__ void attend_piece(const Launch& l, const FastSlice& slice, int64_t plane, int first,
                             int team, int sub, Team<kQueries>& t) {
  const int length = slice.cache.length;
  const bool inside = 8 * sub < slice.cache.stride;
  uint4 keys[kOwn];
  uint4 values[kOwn];
  const auto load = [&](const uint16_t* cache, uint4(&to)[kOwn]) {
#pragma unroll
    for (int j = 0; j < kOwn; ++j) {
      const int key = first + team + j * kTeams;
      const int64_t at = plane + static_cast<int64_t>(key) * slice.cache.stride + 8 * sub;
      to[j] =
          inside && key < length ? *reinterpret_cast<const uint4*>(cache + at) : uint4{0, 0, 0, 0};
    }
  };
  load(slice.cache.keys, keys);
  load(slice.cache.values, values);
  const float scale = l.a.scale * kLog2OfE;
  float weights[kQueries][kOwn];
#pragma unroll
  for (int j = 0; j < kOwn; ++j) {
    float k[8];
    unpack(keys[j], k);
#pragma unroll
    for (int q = 0; q < kQueries; ++q) {
      float sum = 0;
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        sum = fmaf(low_float(t.query[q][i]), k[2 * i], sum);
        sum = fmaf(high_float(t.query[q][i]), k[2 * i + 1], sum);
      }
      weights[q][j] = sum;
    }
#pragma unroll
    for (int step = 8; step > 0; step /= 2) {
#pragma unroll
      for (int q = 0; q < kQueries; ++q) {
        weights[q][j] += __shfl_xor_sync(~0u, weights[q][j], step);
      }
    }
  }
#pragma unroll
  for (int q = 0; q < kQueries; ++q) {
    float next = t.largest[q];
#pragma unroll
    for (int j = 0; j < kOwn; ++j) {
      const bool seen = first + team + j * kTeams < t.sees[q];
      weights[q][j] = seen ? weights[q][j] * scale : -INFINITY;
      next = fmaxf(next, weights[q][j]);
    }
    // A team that has seen no key yet has weights of 2^-∞.
    const float base = next == -INFINITY ? 0.0f : next;
    const float shrink = two_to(t.largest[q] - base);
    t.largest[q] = next;
    t.total[q] *= shrink;
#pragma unroll
    for (int i = 0; i < 8; ++i) t.out[q][i] *= shrink;
#pragma unroll
    for (int j = 0; j < kOwn; ++j) {
      weights[q][j] = two_to(weights[q][j] - base);
      t.total[q] += weights[q][j];
    }
  }
#pragma unroll
  for (int j = 0; j < kOwn; ++j) {
    float v[8];
    unpack(values[j], v);
#pragma unroll
    for (int q = 0; q < kQueries; ++q) {
#pragma unroll
      for (int i = 0; i < 8; ++i) t.out[q][i] = fmaf(weights[q][j], v[i], t.out[q][i]);
    }
  }
}

// Queries of a block rotated in shared memory, keys and values among [begin, end) that are new into
// the cache, where the block reads them again.
template <int kQueries>
__device__ void make_heads(const Launch& l, const FastSlice& slice, int kv_head, int first_query,
                           int begin, int end, float* rotated) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int width = l.a.head_dim;
  const int oldest = max(begin, slice.position);
  const int keys = max(min(end, slice.position + slice.count) - oldest, 0);
  for (int unit = static_cast<int>(threadIdx.x) / 32; unit < kQueries + 2 * keys;
       unit += kThreads / 32) {
    if (unit >= kQueries) {
      const int position = oldest + (unit - kQueries) / 2;
      append_head(l.a.from, (unit - kQueries) % 2 == 0, slice.begin + position - slice.position,
                  l.a.kv_heads, kv_head, width, slice.cache, position, lane);
      continue;
    }
    const int token = (first_query + unit) / l.group;
    if (token >= slice.count) continue;
    const int head = kv_head * l.group + (first_query + unit) % l.group;
    const int64_t row = slice.begin + token;
    HeadInLanes own;
    own.load(l.a.query + (row * l.a.heads + head) * width, width, lane);
    own.normalise_and_rotate(l.a.from, l.a.from.query_norm, row, width, lane);
    own.each(width, lane, [&](int i, float value) { rotated[unit * kWidth + i] = value; });
  }
  __syncthreads();
}

__device__ __forceinline__ FastSlice slice_of(const FastAttention& a, unsigned index) {
  if (a.recorded.slices == nullptr) return a.slices[index];
  FastSlice slice = a.recorded.slices[index];
  slice.position = a.recorded.filled[index];
  slice.cache.length = slice.position + slice.count;
  return slice;
}

template <int kQueries>
struct Shared {
  float largest[kTeams][kQueries];
  float total[kTeams][kQueries];
  float out[kTeams][kQueries][kWidth];
  float weights[kQueries][kMostDecodeSplits];  // of the splits
  float rotated[kQueries][kWidth];             // queries
  bool last;
};

struct Part {
  float largest;
  float total;
  float out;
};

// Column d of a query, of all teams in their order.
template <int kQueries>
__device__ __forceinline__ Part join_teams(const Shared<kQueries>& s, int q, int d) {
  Part all{-INFINITY, 0, 0};
#pragma unroll
  for (int i = 0; i < kTeams; ++i) all.largest = fmaxf(all.largest, s.largest[i][q]);
  const float base = all.largest == -INFINITY ? 0.0f : all.largest;
#pragma unroll
  for (int i = 0; i < kTeams; ++i) {
    const float weight = two_to(s.largest[i][q] - base);
    all.total = fmaf(s.total[i][q], weight, all.total);
    all.out = fmaf(s.out[i][q][d], weight, all.out);
  }
  return all;
}

// A split in the workspace: its output, its maximum, its total.
constexpr int kPartFloats = kWidth + 4;  // whole 16 bytes

// By one warp: what the outputs of a query's splits are multiplied with.
__device__ void weigh_splits(const float* parts, int splits, float* weights) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  float largest = -INFINITY;
  for (int i = lane; i < splits; i += 32) {
    largest = fmaxf(largest, __ldcg(parts + i * kPartFloats + kWidth));
  }
  largest = warp_max(largest);
  float total = 0;
  for (int i = lane; i < splits; i += 32) {
    weights[i] = two_to(__ldcg(parts + i * kPartFloats + kWidth) - largest);
    total = fmaf(weights[i], __ldcg(parts + i * kPartFloats + kWidth + 1), total);
  }
  total = warp_sum(total);
  for (int i = lane; i < splits; i += 32) weights[i] /= total;
}

template <int kQueries>
__global__ void __launch_bounds__(kThreads, kQueries <= 4 ? 4 : 2)
    decode(const __grid_constant__ Launch l) {
  __shared__ Shared<kQueries> shared;
  wait_for_predecessor();
  const FastSlice slice = slice_of(l.a, blockIdx.z);
  const int kv_head = static_cast<int>(blockIdx.y) / l.chunks;
  const int first_query = static_cast<int>(blockIdx.y) % l.chunks * kQueries;
  if (first_query >= slice.count * l.group) return;
  const int pieces = (slice.cache.length + kDecodePiece - 1) / kDecodePiece;
  const int each = (pieces + l.splits - 1) / l.splits * kDecodePiece;
  const int begin = static_cast<int>(blockIdx.x) * each;
  const int end = min(begin + each, slice.cache.length);
  const int64_t plane = static_cast<int64_t>(kv_head) * slice.cache.capacity * slice.cache.stride;
  const int thread = static_cast<int>(threadIdx.x);
  const int team = thread / 16;
  const int sub = thread % 16;

  const bool fresh = l.a.from.key != nullptr;
  if (fresh) {
    make_heads<kQueries>(l, slice, kv_head, first_query, begin, end, shared.rotated[0]);
  }
  Team<kQueries> own;
  load_team<kQueries>(l, slice, kv_head, first_query, sub, fresh ? shared.rotated[0] : nullptr,
                      own);
  for (int first = begin; first < end; first += kDecodePiece) {
    attend_piece<kQueries>(l, slice, plane, first, team, sub, own);
  }
#pragma unroll
  for (int q = 0; q < kQueries; ++q) {
#pragma unroll
    for (int i = 0; i < 8; ++i) shared.out[team][q][8 * sub + i] = own.out[q][i];
    // The lanes of a team agree.
    shared.largest[team][q] = own.largest[q];
    shared.total[team][q] = own.total[q];
  }
  __syncthreads();

  const int64_t row = (static_cast<int64_t>(blockIdx.z) * gridDim.y + blockIdx.y) * kQueries;
  const auto store = [&](int q, int d, float value) {
    const int token = (first_query + q) / l.group;
    const int head = kv_head * l.group + (first_query + q) % l.group;
    if (token >= slice.count || d >= l.a.head_dim) return;
    const int64_t at = static_cast<int64_t>(slice.begin + token) * l.a.heads + head;
    l.a.out[at * l.a.head_dim + d] = value;
  };
#pragma unroll
  for (int q = 0; q < kQueries; ++q) {
    const Part part = join_teams(shared, q, thread);
    if (l.splits == 1) {
      store(q, thread, part.out / part.total);
      continue;
    }
    float* to = l.a.partial + ((row + q) * l.splits + blockIdx.x) * kPartFloats;
    to[thread] = part.out;
    if (thread == 0) {
      to[kWidth] = part.largest;
      to[kWidth + 1] = part.total;
    }
  }
  if (l.splits == 1) return;
  uint32_t* ticket = l.a.tickets + blockIdx.z * gridDim.y + blockIdx.y;
  __threadfence();
  __syncthreads();
  if (thread == 0) shared.last = atomicAdd(ticket, 1u) + 1 == gridDim.x;
  __syncthreads();
  if (!shared.last) return;
  __threadfence();
  if (thread == 0) *ticket = 0;
  // A warp a query, four columns a lane.
  const int lane = thread % 32;
  for (int q = thread / 32; q < kQueries; q += kThreads / 32) {
    const float* parts = l.a.partial + (row + q) * l.splits * kPartFloats;
    weigh_splits(parts, l.splits, shared.weights[q]);
    __syncwarp();
    float4 sum = {0, 0, 0, 0};
#pragma unroll 8
    for (int i = 0; i < l.splits; ++i) {
      const float weight = shared.weights[q][i];
      const float4 v = __ldcg(reinterpret_cast<const float4*>(parts + i * kPartFloats) + lane);
      sum = {fmaf(weight, v.x, sum.x), fmaf(weight, v.y, sum.y), fmaf(weight, v.z, sum.z),
             fmaf(weight, v.w, sum.w)};
    }
    store(q, 4 * lane, sum.x);
    store(q, 4 * lane + 1, sum.y);
    store(q, 4 * lane + 2, sum.z);
    store(q, 4 * lane + 3, sum.w);
  }
}

template <int kQueries>
void launch(Launch& l, int most_queries, int64_t longest, int multiprocessors,
            cudaStream_t stream) {
  l.chunks = (most_queries + kQueries - 1) / kQueries;
  const int64_t rows = int64_t{l.a.kv_heads} * l.chunks * l.a.count;
  l.splits = decode_splits(longest, rows, multiprocessors);
  const int64_t room = l.a.partial_floats / (rows * kQueries * kPartFloats);
  l.splits = static_cast<int>(std::min<int64_t>(l.splits, std::max<int64_t>(room, 1)));
  if (rows > kSplitTickets) l.splits = 1;
  launch_overlapped(
      decode<kQueries>, l,
      dim3(static_cast<unsigned>(l.splits), static_cast<unsigned>(l.a.kv_heads * l.chunks),
           static_cast<unsigned>(l.a.count)),
      kThreads, 0, stream);
}

}  // namespace

void attend_decode(const FastAttention& args, int multiprocessors, cudaStream_t stream) {
  static_assert(sizeof(Launch) < 4096, "parameters of a kernel");
  Launch l{};
  l.a = args;
  l.group = args.heads / args.kv_heads;
  int most = 0;
  int64_t longest = 0;
  for (int i = 0; i < args.count; ++i) {
    most = std::max(most, args.slices[i].count * l.group);
    longest = std::max<int64_t>(longest, args.slices[i].cache.length);
  }
  longest = decode_reach(longest);
  if (most <= 1) return launch<1>(l, most, longest, multiprocessors, stream);
  if (most <= 2) return launch<2>(l, most, longest, multiprocessors, stream);
  if (most <= 4) return launch<4>(l, most, longest, multiprocessors, stream);
  launch<8>(l, most, longest, multiprocessors, stream);
}

}  // namespace squint::cuda
