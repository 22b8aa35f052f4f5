#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <span>

#include "conformance/guarded_tensor.h"
#include "conformance/linear_weights.h"
#include "conformance/on_every_backend.h"
#include "conformance/random_values.h"

namespace squint::test {
namespace {

constexpr int64_t kRows[] = {0, 1, 2, 3, 5, 6, 7, 13, 14, 15, 33, 257};
constexpr int64_t kIns[] = {1, 8, 16, 17, 255, 256, 257, 520};
constexpr int64_t kOuts[] = {1, 15, 16, 17, 31, 64, 65};

class Linear : public OnEveryBackend {
 protected:
  // Compares with the reference for every number of rows in `rows`.
  void check(const LinearWeight& weight, std::span<const int64_t> rows, uint64_t seed) {
    const LinearWeight ready = backend().prepare(weight);
    const int64_t most = *std::max_element(rows.begin(), rows.end());
    const GuardedTensor x(random_values(most * weight.in_features, seed),
                          {most, weight.in_features});
    const Tensor expected = Tensor::on_host(DType::f32, {most, weight.out_features});
    reference().linear(*x, weight, expected);
    for (const int64_t count : rows) {
      // Rows of their own, so that reading past the last one meets the guard.
      const GuardedTensor some(x->span<const float>().first(count * weight.in_features),
                               {count, weight.in_features});
      const GuardedTensor out(DType::f32, {count, weight.out_features});
      backend().linear(*some, ready, *out);
      backend().synchronize();
      ASSERT_TRUE(near(*out, expected.rows(0, count), linear_tolerance()))
          << "rows " << count << " in " << weight.in_features << " out " << weight.out_features
          << " seed " << seed;
      ASSERT_TRUE(out.guards_hold())
          << "rows " << count << " in " << weight.in_features << " out " << weight.out_features;
    }
  }
};
INSTANTIATE_TEST_SUITE_P(Kernels, Linear, ::testing::ValuesIn(backends_here()), backend_name);

TEST_P(Linear, DenseFloat32) {
  for (const int64_t in : kIns) {
    for (const int64_t out : kOuts) {
      check(dense_f32({.in = in, .out = out, .bias = out % 2 == 1, .seed = 1}), kRows, 2);
    }
  }
}

TEST_P(Linear, DenseBfloat16) {
  for (const int64_t in : kIns) {
    for (const int64_t out : kOuts) {
      check(dense_bf16({.in = in, .out = out, .bias = out % 2 == 0, .seed = 3}), kRows, 4);
    }
  }
}

// Where a backend may take eight bits instead.
TEST_P(Linear, DenseBfloat16OfWhichEightBitsDo) {
  for (const int64_t in : kIns) {
    for (const int64_t out : kOuts) {
      LinearWeight weight = dense_bf16({.in = in, .out = out, .bias = out % 2 == 0, .seed = 3});
      weight.eight_bits_do = true;
      check(weight, kRows, 4);
    }
  }
}

// f16 checkpoints are widened at load.
TEST_P(Linear, DenseFloat16) {
  const int64_t in = 17;
  const int64_t out = 33;
  const Tensor halves = Tensor::on_host(DType::f16, {out, in});
  auto* bits = reinterpret_cast<uint16_t*>(halves.raw());
  Random random(5);
  for (int64_t i = 0; i < out * in; ++i) {
    bits[i] = static_cast<uint16_t>((random.below(2) << 15) | (0x3000 + random.below(0x400)));
  }
  check({.out_features = out, .in_features = in, .weight = halves, .bias = {}}, kRows, 6);
}

struct IntegerCase {
  int bits;
  bool symmetric;
};

class IntegerLinear : public Linear {
 protected:
  static constexpr IntegerCase kCases[] = {{4, true}, {4, false}, {8, true}, {8, false}};
  static constexpr int64_t kFewRows[] = {0, 1, 2, 7, 14, 15, 257};

  void check_group(int64_t group_size, int64_t in) {
    for (const IntegerCase& c : kCases) {
      for (const int64_t out : kOuts) {
        const QuantizationScheme scheme{
            .bits = c.bits, .group_size = group_size, .symmetric = c.symmetric};
        SCOPED_TRACE(::testing::Message() << "bits " << c.bits << " symmetric " << c.symmetric
                                          << " group " << group_size);
        check(packed({.in = in, .out = out, .bias = out % 2 == 1, .seed = 7}, scheme), kFewRows, 8);
        if (HasFatalFailure()) return;
      }
    }
  }
};
INSTANTIATE_TEST_SUITE_P(Kernels, IntegerLinear, ::testing::ValuesIn(backends_here()),
                         backend_name);

// 288 and 1152 columns: the last block of 256 is not full.
TEST_P(IntegerLinear, Groups32) {
  for (const int64_t in : {32, 96, 288}) check_group(32, in);
}

TEST_P(IntegerLinear, Groups64) {
  for (const int64_t in : {64, 192, 320}) check_group(64, in);
}

TEST_P(IntegerLinear, Groups128) {
  for (const int64_t in : {128, 384, 1152}) check_group(128, in);
}

TEST_P(IntegerLinear, OneGroupPerRow) {
  for (const int64_t in : kIns) check_group(0, in);
}

// Column 256, where a block ends, is in the middle of a group.
TEST_P(IntegerLinear, GroupsThatStraddleABlock) { check_group(40, 520); }

TEST_P(Linear, AnInfinityStaysInItsRow) {
  const LinearWeight weight = backend().prepare(dense_f32({.in = 17, .out = 17, .seed = 9}));
  const LinearWeight plain = dense_f32({.in = 17, .out = 17, .seed = 9});
  std::vector<float> values = random_values(3 * 17, 10);
  values[17] = INFINITY;
  const GuardedTensor x(values, {3, 17});
  const GuardedTensor out(DType::f32, {3, 17});
  const Tensor expected = Tensor::on_host(DType::f32, {3, 17});
  backend().linear(*x, weight, *out);
  reference().linear(*x, plain, expected);
  EXPECT_TRUE(near(*out, expected, linear_tolerance()));
  EXPECT_TRUE(std::isinf(out->span<const float>()[17]));
}

TEST_P(Linear, PrepareKeepsTheSizesAndTheBias) {
  const LinearWeight weight = dense_f32({.in = 5, .out = 3, .bias = true, .seed = 11});
  const LinearWeight ready = backend().prepare(weight);
  EXPECT_EQ(ready.in_features, 5);
  EXPECT_EQ(ready.out_features, 3);
  EXPECT_TRUE(same_bits(ready.bias, weight.bias));
}

}  // namespace
}  // namespace squint::test
