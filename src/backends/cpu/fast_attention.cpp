// Caches in bf16 and what reads them. A block of keys gives a part of a row's result, and parts are
// put together in order: by whom they were computed changes nothing.
#include <algorithm>
#include <array>
#include <cstring>

#include "backends/cpu/fast_backend.h"
#include "base/check.h"
#include "base/checked_math.h"

namespace squint::cpu {
namespace {

// Query heads of most models, for a plan that does not know them.
constexpr int64_t kUsualHeads = 32;

const float* floats(const Tensor& x) { return x.span<const float>().data(); }
const uint16_t* halves(const Tensor& x) { return reinterpret_cast<const uint16_t*>(x.raw()); }

// Floats of a part: what AttentionPart points to.
int64_t part_floats(int64_t rows, int64_t stride) { return rows * (stride + 2); }

// Every row begins at a multiple of 64 bytes where `at` does and there are 16 rows or more.
AttentionPart part_at(float* at, int64_t rows, int64_t stride) {
  return {.largest = at + rows * stride, .sums = at + rows * (stride + 1), .mixed = at};
}

int64_t scratch_floats(int64_t head_dim) {
  const int64_t stride = value_stride(head_dim);
  return kFastAttentionRows * (head_dim + kKeyBlock) + 2 * part_floats(kFastAttentionRows, stride);
}

}  // namespace

struct FastBackend::Attending {
  const float* query;
  float* out;
  int64_t heads;
  int64_t head_dim;
  float scale;
  bool causal;
};

// Queries of the rows [begin, begin + tokens) of a batch that share a key/value head.
struct FastBackend::KeyBlock {
  const KvLayer* kv;
  int64_t kv_head;
  int64_t begin;
  int64_t tokens;
  int64_t position;  // of the first query
  int64_t block;
};

struct FastBackend::Scratch {
  float* queries;
  float* scores;
  AttentionPart total;
  AttentionPart part;
  std::vector<int64_t>& visible;
};

int64_t FastBackend::attention_bytes(int64_t head_dim, int64_t length) const {
  const int64_t parts =
      ceil_div(length, kKeyBlock) * part_floats(kUsualHeads, value_stride(head_dim));
  // Beside it: rows in bytes, and the rest of a huge page behind the last weight.
  constexpr int64_t kOthers = 3 * kMostByteRowCodes + (int64_t{1} << 20);
  return (pool().size() * scratch_floats(head_dim) + parts) * byte_size(DType::f32) + kOthers;
}

void FastBackend::append_kv(const Tensor& keys, const Tensor& values, KvLayer& kv) {
  const int64_t d = kv.head_dim;
  const int64_t rows = round_up(kv.capacity, kLanes);
  const int64_t stride = value_stride(d);
  auto* key_tiles = kv.keys.span<bf16>().data();
  auto* value_rows = kv.values.span<bf16>().data();
  const int64_t tokens = keys.dim(0);
  constexpr int64_t kWorthSharing = 1 << 14;
  const int64_t grain = std::max<int64_t>(1, kWorthSharing / std::max<int64_t>(1, tokens * d));
  pool().parallel_for(kv.heads, grain, [&](int64_t begin, int64_t end, int) {
    for (int64_t h = begin; h < end; ++h) {
      for (int64_t t = 0; t < tokens; ++t) {
        const int64_t at = kv.length + t;
        const float* key = floats(keys) + (t * kv.heads + h) * d;
        const float* value = floats(values) + (t * kv.heads + h) * d;
        bf16* tile = key_tiles + (h * rows + at / kLanes * kLanes) * d + at % kLanes;
        bf16* row = value_rows + (h * rows + at) * stride;
        for (int64_t i = 0; i < d; ++i) tile[i * kLanes] = to_bf16(key[i]);
        for (int64_t i = 0; i < d; ++i) row[i] = to_bf16(value[i]);
      }
    }
  });
  kv.length += tokens;
}

FastBackend::Scratch FastBackend::scratch(int worker, int64_t head_dim, int64_t stride) {
  Worker& own = workers_[static_cast<size_t>(worker)];
  const auto needed = static_cast<size_t>(scratch_floats(head_dim));
  if (own.floats.size() < needed) own.floats.resize(needed);
  own.visible.resize(kFastAttentionRows);
  float* parts = own.floats.data() + kFastAttentionRows * (head_dim + kKeyBlock);
  return {
      .queries = own.floats.data(),
      .scores = own.floats.data() + kFastAttentionRows * head_dim,
      .total = part_at(parts, kFastAttentionRows, stride),
      .part = part_at(parts + part_floats(kFastAttentionRows, stride), kFastAttentionRows, stride),
      .visible = own.visible};
}

// Queries must have been gathered; fills s.visible.
void FastBackend::attend_block(const Attending& a, const KeyBlock& b, Scratch& s,
                               const AttentionPart& out) {
  const KvLayer& kv = *b.kv;
  const int64_t d = a.head_dim;
  const int64_t group = a.heads / kv.heads;
  const int64_t rows = b.tokens * group;
  const int64_t first = b.block * kKeyBlock;
  const int64_t known = a.causal ? b.position + b.tokens : kv.length;
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t visible = a.causal ? b.position + r / group + 1 : kv.length;
    s.visible[static_cast<size_t>(r)] = std::min(visible - first, kKeyBlock);
  }
  const int64_t capacity = round_up(kv.capacity, kLanes);
  const int64_t stride = value_stride(d);
  fast_.attend({.queries = s.queries,
                .rows = rows,
                .visible = s.visible.data(),
                .keys = halves(kv.keys) + (b.kv_head * capacity + first) * d,
                .values = halves(kv.values) + (b.kv_head * capacity + first) * stride,
                .count = std::min(kKeyBlock, known - first),
                .head_dim = d,
                .value_stride = stride,
                .scale = a.scale,
                .out = out,
                .scores = s.scores});
}

namespace {

int64_t row_at(int64_t heads, int64_t group, int64_t kv_head, int64_t begin, int64_t r) {
  return (begin + r / group) * heads + kv_head * group + r % group;
}

}  // namespace

void FastBackend::store_rows(const Attending& a, const KeyBlock& b, const AttentionPart& total,
                             int64_t rows) {
  const int64_t stride = value_stride(a.head_dim);
  const int64_t group = a.heads / b.kv->heads;
  for (int64_t r = 0; r < rows; ++r) {
    float* out = a.out + row_at(a.heads, group, b.kv_head, b.begin, r) * a.head_dim;
    const float inverse = 1.0f / total.sums[r];
    for (int64_t i = 0; i < a.head_dim; ++i) out[i] = total.mixed[r * stride + i] * inverse;
  }
}

// Few queries: blocks of keys are shared among workers.
void FastBackend::attend_few(const Attending& a, std::span<const KvSlice> slices,
                             std::span<const int64_t> positions) {
  const int64_t d = a.head_dim;
  const int64_t stride = value_stride(d);
  std::vector<KeyBlock> blocks;
  std::vector<int64_t> firsts;  // a slice's head's first block
  for (size_t i = 0; i < slices.size(); ++i) {
    const KvLayer& kv = *slices[i].kv;
    const int64_t known = a.causal ? positions[i] + slices[i].count : kv.length;
    for (int64_t head = 0; head < kv.heads; ++head) {
      firsts.push_back(std::ssize(blocks));
      for (int64_t block = 0; block < ceil_div(known, kKeyBlock); ++block) {
        blocks.push_back({&kv, head, slices[i].begin, slices[i].count, positions[i], block});
      }
    }
  }
  firsts.push_back(std::ssize(blocks));
  const int64_t size = part_floats(kFastAttentionRows, stride);
  const auto rows_of = [&](const KeyBlock& b) { return b.tokens * (a.heads / b.kv->heads); };
  int64_t most_rows = 0;
  for (const KeyBlock& b : blocks) most_rows = std::max(most_rows, rows_of(b));
  const int64_t part_size = std::min(size, part_floats(most_rows, stride));
  const size_t needed = blocks.size() * static_cast<size_t>(part_size);
  if (parts_.size() < needed) parts_.resize(needed);
  const auto part_of = [&](int64_t block) {
    return part_at(parts_.data() + block * part_size, most_rows, stride);
  };
  pool().parallel_for(std::ssize(blocks), 1, [&](int64_t begin, int64_t end, int worker) {
    Scratch s = scratch(worker, d, stride);
    for (int64_t at = begin; at < end; ++at) {
      const KeyBlock& b = blocks[static_cast<size_t>(at)];
      const int64_t group = a.heads / b.kv->heads;
      for (int64_t r = 0; r < rows_of(b); ++r) {
        std::copy_n(a.query + row_at(a.heads, group, b.kv_head, b.begin, r) * d, d,
                    s.queries + r * d);
      }
      attend_block(a, b, s, part_of(at));
    }
  });
  merge_blocks(a, blocks, firsts, part_of);
}

// Puts together the parts of each slice's head, in order, and stores what comes out.
void FastBackend::merge_blocks(const Attending& a, std::span<const KeyBlock> blocks,
                               std::span<const int64_t> firsts,
                               const std::function<AttentionPart(int64_t)>& part_of) {
  constexpr int64_t kWorthSharing = 32;  // blocks
  const int64_t d = a.head_dim;
  const int64_t stride = value_stride(d);
  const int64_t heads = std::ssize(firsts) - 1;
  const int64_t grain = std::max<int64_t>(1, kWorthSharing * heads / std::ssize(blocks));
  pool().parallel_for(heads, grain, [&](int64_t begin, int64_t end, int worker) {
    const Scratch s = scratch(worker, d, stride);
    for (int64_t head = begin; head < end; ++head) {
      const int64_t first = firsts[static_cast<size_t>(head)];
      const int64_t last = firsts[static_cast<size_t>(head + 1)];
      const KeyBlock& b = blocks[static_cast<size_t>(first)];
      const int64_t group = a.heads / b.kv->heads;
      const int64_t rows = b.tokens * group;
      const AttentionPart total = part_of(first);
      for (int64_t at = first + 1; at < last; ++at) {
        for (int64_t r = 0; r < rows; ++r) {
          s.visible[static_cast<size_t>(r)] =
              a.causal ? b.position + r / group + 1 - (at - first) * kKeyBlock : 1;
        }
        fast_.merge({.rows = rows,
                     .value_stride = stride,
                     .visible = s.visible.data(),
                     .total = total,
                     .part = part_of(at)});
      }
      store_rows(a, b, total, rows);
    }
  });
}

// Many queries: some tokens of a key/value head are a worker's, over all of their keys.
void FastBackend::attend_many(const Attending& a, const KvSlice& slice, int64_t position) {
  const KvLayer& kv = *slice.kv;
  const int64_t d = a.head_dim;
  const int64_t stride = value_stride(d);
  const int64_t group = a.heads / kv.heads;
  const int64_t block_tokens = kFastAttentionRows / group;
  const int64_t token_blocks = ceil_div(slice.count, block_tokens);
  const auto run = [&](int64_t kv_head, int64_t token_block, Scratch& s) {
    const int64_t begin = token_block * block_tokens;
    KeyBlock b{.kv = &kv,
               .kv_head = kv_head,
               .begin = slice.begin + begin,
               .tokens = std::min(block_tokens, slice.count - begin),
               .position = position + begin,
               .block = 0};
    const int64_t rows = b.tokens * group;
    for (int64_t r = 0; r < rows; ++r) {
      std::copy_n(a.query + row_at(a.heads, group, kv_head, b.begin, r) * d, d, s.queries + r * d);
    }
    const int64_t known = a.causal ? b.position + b.tokens : kv.length;
    attend_block(a, b, s, s.total);
    for (b.block = 1; b.block * kKeyBlock < known; ++b.block) {
      attend_block(a, b, s, s.part);
      fast_.merge({.rows = rows,
                   .value_stride = stride,
                   .visible = s.visible.data(),
                   .total = s.total,
                   .part = s.part});
    }
    store_rows(a, b, s.total, rows);
  };
  // The later a token, the more keys it sees: each index takes some from either end.
  const int64_t pairs = ceil_div(token_blocks, 2);
  pool().parallel_for(kv.heads * pairs, 1, [&](int64_t begin, int64_t end, int worker) {
    Scratch s = scratch(worker, d, stride);
    for (int64_t i = begin; i < end; ++i) {
      const int64_t early = i % pairs;
      run(i / pairs, early, s);
      if (token_blocks - 1 - early != early) run(i / pairs, token_blocks - 1 - early, s);
    }
  });
}

void FastBackend::attend_slices(const Attending& a, std::span<const KvSlice> slices,
                                std::span<const int64_t> positions) {
  std::vector<KvSlice> few;
  std::vector<int64_t> few_positions;
  for (size_t i = 0; i < slices.size(); ++i) {
    const int64_t group = a.heads / slices[i].kv->heads;
    SQUINT_CHECK(group <= kFastAttentionRows);
    if (slices[i].count == 0) continue;
    if (slices[i].count * group > kFastAttentionRows) {
      attend_many(a, slices[i], positions[i]);
    } else {
      few.push_back(slices[i]);
      few_positions.push_back(positions[i]);
    }
  }
  if (!few.empty()) attend_few(a, few, few_positions);
}

void FastBackend::attention(const AttentionArgs& args, const Tensor& out) {
  if (out.numel() == 0) return;
  KvLayer kv = *args.kv;
  const std::array slices{KvSlice{.begin = 0, .count = args.query.dim(0), .kv = &kv}};
  attend_slices({.query = floats(args.query),
                 .out = out.span<float>().data(),
                 .heads = args.query.dim(1),
                 .head_dim = args.query.dim(2),
                 .scale = args.scale,
                 .causal = args.causal},
                slices, std::array{args.first_position});
}

void FastBackend::attend(const Tensor& query, std::span<const KvSlice> slices, float scale,
                         const Tensor& out) {
  std::vector<int64_t> positions;
  for (const KvSlice& slice : slices) positions.push_back(slice.kv->length - slice.count);
  attend_slices({.query = floats(query),
                 .out = out.span<float>().data(),
                 .heads = query.dim(1),
                 .head_dim = query.dim(2),
                 .scale = scale,
                 .causal = true},
                slices, positions);
}

void FastBackend::norm_rotate_append(const HeadsArgs& args, std::span<const KvSlice> slices) {
  rms_norm(args.query, args.query_norm, args.eps, args.query);
  rms_norm(args.key, args.key_norm, args.eps, args.key);
  rotate(args.cosine, args.sine, args.query);
  rotate(args.cosine, args.sine, args.key);
  for (const KvSlice& s : slices) {
    append_kv(args.key.rows(s.begin, s.count), args.value.rows(s.begin, s.count), *s.kv);
  }
}

}  // namespace squint::cpu
