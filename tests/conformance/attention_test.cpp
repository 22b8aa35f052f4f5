#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "conformance/guarded_tensor.h"
#include "conformance/on_every_backend.h"
#include "conformance/random_values.h"

namespace squint::test {
namespace {

struct Sizes {
  int64_t tokens;
  int64_t first_position;
  int64_t keys;
  int64_t kv_heads = 2;
  int64_t group = 2;  // query heads per key/value head
  int64_t head_dim = 64;
  bool causal = true;
};

std::string describe(const Sizes& s) {
  return "tokens " + std::to_string(s.tokens) + " from " + std::to_string(s.first_position) +
         " keys " + std::to_string(s.keys) + " kv heads " + std::to_string(s.kv_heads) + " group " +
         std::to_string(s.group) + " d " + std::to_string(s.head_dim) + (s.causal ? " causal" : "");
}

// A cache whose memory held NaNs before.
KvLayer dirty_kv(Backend& backend, const Sizes& s, int64_t capacity) {
  const int64_t bytes = backend.kv_bytes(s.kv_heads, s.head_dim, capacity);
  const std::shared_ptr<Storage> storage = backend.allocate(bytes);
  std::memset(storage->data(), 0xff, static_cast<size_t>(bytes));
  return backend.make_kv(storage, s.kv_heads, s.head_dim, capacity);
}

struct Inputs {
  GuardedTensor query;
  GuardedTensor keys;
  GuardedTensor values;
};

Inputs random_inputs(const Sizes& s, uint64_t seed, float scale = 1) {
  const Shape queries{s.tokens, s.kv_heads * s.group, s.head_dim};
  const Shape cached{s.keys, s.kv_heads, s.head_dim};
  return {.query = {random_values(queries.numel(), seed, scale), queries},
          .keys = {random_values(cached.numel(), seed + 1, scale), cached},
          .values = {random_values(cached.numel(), seed + 2), cached}};
}

AttentionArgs args_for(const Sizes& s, const Tensor& query, const KvLayer& kv) {
  return {.query = query,
          .kv = &kv,
          .first_position = s.first_position,
          .causal = s.causal,
          .scale = 1.0f / std::sqrt(static_cast<float>(s.head_dim))};
}

class Attention : public OnEveryBackend {
 protected:
  void check(const Sizes& s, const Inputs& in) {
    KvLayer kv = dirty_kv(backend(), s, s.keys + 5);
    KvLayer plain = dirty_kv(reference(), s, s.keys + 5);
    backend().append_kv(*in.keys, *in.values, kv);
    reference().append_kv(*in.keys, *in.values, plain);
    ASSERT_EQ(kv.length, s.keys);
    const Shape shape{s.tokens, s.kv_heads * s.group * s.head_dim};
    const Tensor expected = Tensor::on_host(DType::f32, shape);
    reference().attention(args_for(s, *in.query, plain), expected);
    const GuardedTensor out(DType::f32, shape);
    backend().attention(args_for(s, *in.query, kv), *out);
    ASSERT_TRUE(near(*out, expected, attention_tolerance())) << describe(s);
    ASSERT_TRUE(out.guards_hold()) << describe(s);
    for (const float y : out->span<const float>()) ASSERT_TRUE(std::isfinite(y)) << describe(s);
  }

  void check(const Sizes& s) { check(s, random_inputs(s, 60)); }
};
INSTANTIATE_TEST_SUITE_P(Kernels, Attention, ::testing::ValuesIn(backends_here()), backend_name);

TEST_P(Attention, PromptsAndSteps) {
  for (const Sizes s : {Sizes{1, 0, 1}, Sizes{1, 14, 15}, Sizes{1, 15, 16}, Sizes{1, 16, 17},
                        Sizes{1, 299, 300}, Sizes{5, 0, 5}, Sizes{16, 0, 16}, Sizes{17, 0, 17},
                        Sizes{33, 0, 33}, Sizes{7, 33, 40}, Sizes{33, 37, 70}, Sizes{70, 0, 70}}) {
    for (const int64_t head_dim : {20, 64, 72, 128}) {
      Sizes sized = s;
      sized.head_dim = head_dim;
      check(sized);
    }
  }
}

TEST_P(Attention, Groups) {
  for (const int64_t group : {1, 2, 3, 4, 8, 32}) {
    for (const int64_t kv_heads : {1, 3}) {
      check({.tokens = 1, .first_position = 18, .keys = 19, .kv_heads = kv_heads, .group = group});
      check({.tokens = 13,
             .first_position = 6,
             .keys = 19,
             .kv_heads = kv_heads,
             .group = group,
             .head_dim = 20});
      check({.tokens = 41,
             .first_position = 0,
             .keys = 41,
             .kv_heads = kv_heads,
             .group = group,
             .head_dim = 72});
    }
  }
}

TEST_P(Attention, WithoutAMask) {
  for (const int64_t keys : {1, 15, 16, 17, 64, 100}) {
    for (const int64_t head_dim : {20, 64, 72, 128}) {
      check({.tokens = keys,
             .first_position = 0,
             .keys = keys,
             .kv_heads = 4,
             .group = 1,
             .head_dim = head_dim,
             .causal = false});
    }
    check({.tokens = 3, .first_position = 0, .keys = keys, .causal = false});
  }
}

// So many queries that a card has a way of its own for them.
TEST_P(Attention, LongPrompts) {
  for (const int64_t head_dim : {72, 80, 128}) {
    for (const bool causal : {true, false}) {
      for (const auto& [tokens, before] : {std::pair<int64_t, int64_t>{256, 0}, {301, 37}}) {
        check({.tokens = tokens,
               .first_position = before,
               .keys = before + tokens + (causal ? 0 : 90),
               .kv_heads = 2,
               .group = causal ? 2 : 1,
               .head_dim = head_dim,
               .causal = causal});
      }
    }
  }
}

// The cache may hold more than the queries may see: keys of tokens to come.
TEST_P(Attention, LaterKeysAreInvisible) {
  const Sizes s{.tokens = 5, .first_position = 3, .keys = 40};
  Inputs in = random_inputs(s, 61);
  check(s, in);
  const int64_t row = s.kv_heads * s.head_dim;
  KvLayer kv = dirty_kv(backend(), s, s.keys);
  backend().append_kv(*in.keys, *in.values, kv);
  KvLayer other = dirty_kv(backend(), s, s.keys);
  std::ranges::fill(in.keys->span<float>().subspan(8 * row), 50.0f);
  std::ranges::fill(in.values->span<float>().subspan(8 * row), 1000.0f);
  backend().append_kv(*in.keys, *in.values, other);
  const GuardedTensor a(DType::f32, {s.tokens, 2 * row});
  const GuardedTensor b(DType::f32, {s.tokens, 2 * row});
  backend().attention(args_for(s, *in.query, kv), *a);
  backend().attention(args_for(s, *in.query, other), *b);
  EXPECT_TRUE(same_bits(*a, *b));
}

TEST_P(Attention, CacheFilledInPiecesIsTheSame) {
  const Sizes s{.tokens = 4, .first_position = 46, .keys = 50, .head_dim = 72};
  const Inputs in = random_inputs(s, 62);
  KvLayer whole = dirty_kv(backend(), s, 53);
  backend().append_kv(*in.keys, *in.values, whole);
  KvLayer pieces = dirty_kv(backend(), s, 53);
  int64_t at = 0;
  for (const int64_t count : {1, 15, 1, 17, 16}) {
    backend().append_kv(in.keys->rows(at, count), in.values->rows(at, count), pieces);
    at += count;
    ASSERT_EQ(pieces.length, at);
  }
  const GuardedTensor a(DType::f32, {s.tokens, 4 * s.head_dim});
  const GuardedTensor b(DType::f32, {s.tokens, 4 * s.head_dim});
  backend().attention(args_for(s, *in.query, whole), *a);
  backend().attention(args_for(s, *in.query, pieces), *b);
  EXPECT_TRUE(same_bits(*a, *b));
}

TEST_P(Attention, LargeScoresChooseOneKey) {
  for (const float scale : {30.0f, 1e3f, 1e8f}) {
    for (const bool causal : {true, false}) {
      const Sizes s{.tokens = 33, .first_position = 0, .keys = 33, .causal = causal};
      const Inputs in = random_inputs(s, 63, scale);
      KvLayer kv = dirty_kv(backend(), s, s.keys);
      backend().append_kv(*in.keys, *in.values, kv);
      const GuardedTensor out(DType::f32, {s.tokens, 4 * s.head_dim});
      backend().attention(args_for(s, *in.query, kv), *out);
      for (const float y : out->span<const float>()) {
        ASSERT_TRUE(std::isfinite(y) && std::abs(y) <= 3.6f) << "scale " << scale;
      }
      // One key has all the weight; rounded scores may find another as large.
      if (scale > 30 && !is_fast()) check(s, in);
    }
  }
}

// Every score is the same negative number: a softmax that forgets to subtract the maximum is 0 / 0.
TEST_P(Attention, EqualVeryNegativeScoresMeanTheValues) {
  const Sizes s{
      .tokens = 1, .first_position = 18, .keys = 19, .kv_heads = 1, .group = 1, .head_dim = 20};
  const GuardedTensor query(std::vector<float>(20, -1e4f), {1, 1, 20});
  const GuardedTensor keys(std::vector<float>(19 * 20, 1e4f), {19, 1, 20});
  const GuardedTensor values(random_values(19 * 20, 64), {19, 1, 20});
  KvLayer kv = dirty_kv(backend(), s, 19);
  backend().append_kv(*keys, *values, kv);
  const GuardedTensor out(DType::f32, {1, 20});
  backend().attention(args_for(s, *query, kv), *out);
  std::vector<float> mean(20, 0.0f);
  for (size_t i = 0; i < 19 * 20; ++i) mean[i % 20] += values->span<const float>()[i] / 19;
  EXPECT_TRUE(near(*out, *GuardedTensor(mean, {1, 20}), attention_tolerance()));
}

TEST_P(Attention, CacheBytesCoverKeysAndValues) {
  for (const int64_t capacity : {1, 16, 17, 100}) {
    for (const int64_t head_dim : {20, 64, 72}) {
      const int64_t bytes = backend().kv_bytes(3, head_dim, capacity);
      EXPECT_GE(bytes, 2 * 3 * head_dim * capacity * (is_fast() ? 2 : 4));
      const KvLayer kv = backend().make_kv(backend().allocate(bytes), 3, head_dim, capacity);
      EXPECT_EQ(kv.heads, 3);
      EXPECT_EQ(kv.head_dim, head_dim);
      EXPECT_EQ(kv.capacity, capacity);
      EXPECT_EQ(kv.length, 0);
    }
  }
}

}  // namespace
}  // namespace squint::test
