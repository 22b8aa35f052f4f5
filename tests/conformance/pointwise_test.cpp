// swiglu, gelu, add and rotate: operators that treat every element, or pair of elements, alone.
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "conformance/guarded_tensor.h"
#include "conformance/on_every_backend.h"
#include "conformance/random_values.h"

namespace squint::test {
namespace {

// The last ones are shared between workers, with and without a remainder.
constexpr int64_t kSizes[] = {1, 7, 15, 16, 17, 31, 33, 100, 32768, 32785, 40000};

class Pointwise : public OnEveryBackend {
 protected:
  Tolerance erf_tolerance() const {
    return on_a_card() ? kCudaGeluErfTolerance : kGeluErfTolerance;
  }
};
INSTANTIATE_TEST_SUITE_P(Kernels, Pointwise, ::testing::ValuesIn(backends_here()), backend_name);

// Every order of magnitude of both signs, where exponentials saturate, overflow and underflow.
std::vector<float> wide_range() {
  std::vector<float> values = {0.0f, -0.0f};
  for (const float sign : {1.0f, -1.0f}) {
    for (int exponent = -38; exponent <= 30; ++exponent) {
      values.push_back(sign * std::pow(10.0f, static_cast<float>(exponent)));
    }
    for (float x = 0.01f; x < 130.0f; x *= 1.003f) values.push_back(sign * x);
    for (const float x : {86.9f, 87.0f, 87.4f, 88.0f, 88.8f, 103.9f, 104.1f}) {
      values.push_back(sign * x);
    }
  }
  return values;
}

TEST_P(Pointwise, Swiglu) {
  for (const int64_t n : kSizes) {
    const GuardedTensor gate(random_values(n, 40, 4), {n});
    const GuardedTensor up(random_values(n, 41), {n});
    const GuardedTensor expected(DType::f32, {n});
    reference().swiglu(*gate, *up, *expected);
    const GuardedTensor out(DType::f32, {n});
    backend().swiglu(*gate, *up, *out);
    ASSERT_TRUE(near(*out, *expected, kSwigluTolerance)) << n;
    ASSERT_TRUE(out.guards_hold()) << n;
    backend().swiglu(*gate, *up, *gate);  // in place
    ASSERT_TRUE(same_bits(*gate, *out)) << n;
    ASSERT_TRUE(gate.guards_hold()) << n;
  }
}

TEST_P(Pointwise, SwigluOverTheWholeRange) {
  const std::vector<float> values = wide_range();
  const auto n = static_cast<int64_t>(values.size());
  const GuardedTensor gate(values, {n});
  const GuardedTensor up(std::vector<float>(values.size(), 1.0f), {n});
  const GuardedTensor expected(DType::f32, {n});
  const GuardedTensor out(DType::f32, {n});
  reference().swiglu(*gate, *up, *expected);
  backend().swiglu(*gate, *up, *out);
  EXPECT_TRUE(near(*out, *expected, kSwigluTolerance));
}

TEST_P(Pointwise, Gelu) {
  for (const int64_t n : kSizes) {
    for (const GeluKind kind : {GeluKind::tanh, GeluKind::erf}) {
      const Tolerance tolerance = kind == GeluKind::tanh ? kGeluTanhTolerance : erf_tolerance();
      const GuardedTensor x(random_values(n, 42, 2), {n});
      const GuardedTensor expected(DType::f32, {n});
      reference().gelu(*x, kind, *expected);
      const GuardedTensor out(DType::f32, {n});
      backend().gelu(*x, kind, *out);
      ASSERT_TRUE(near(*out, *expected, tolerance)) << n;
      ASSERT_TRUE(out.guards_hold()) << n;
      backend().gelu(*x, kind, *x);  // in place
      ASSERT_TRUE(same_bits(*x, *out)) << n;
      ASSERT_TRUE(x.guards_hold()) << n;
    }
  }
}

TEST_P(Pointwise, GeluOverTheWholeRange) {
  const std::vector<float> values = wide_range();
  const auto n = static_cast<int64_t>(values.size());
  const GuardedTensor x(values, {n});
  const GuardedTensor expected(DType::f32, {n});
  const GuardedTensor out(DType::f32, {n});
  reference().gelu(*x, GeluKind::tanh, *expected);
  backend().gelu(*x, GeluKind::tanh, *out);
  EXPECT_TRUE(near(*out, *expected, kGeluTanhTolerance));
  reference().gelu(*x, GeluKind::erf, *expected);
  backend().gelu(*x, GeluKind::erf, *out);
  EXPECT_TRUE(near(*out, *expected, erf_tolerance()));
}

TEST_P(Pointwise, Add) {
  for (const int64_t n : kSizes) {
    const GuardedTensor x(random_values(n, 43), {n});
    const GuardedTensor sum(random_values(n, 44), {n});
    const Tensor expected = copy_of(*sum);
    reference().add(*x, expected);
    backend().add(*x, *sum);
    ASSERT_TRUE(same_bits(*sum, expected)) << n;
    ASSERT_TRUE(sum.guards_hold()) << n;
  }
}

TEST_P(Pointwise, Rotate) {
  struct Case {
    int64_t tokens;
    int64_t heads;
    int64_t head_dim;
  };
  for (const Case c : {Case{1, 1, 2}, Case{1, 1, 20}, Case{5, 3, 20}, Case{1, 16, 64},
                       Case{3, 2, 72}, Case{7, 4, 128}, Case{40, 8, 128}}) {
    const GuardedTensor cosine(random_values(c.tokens * c.head_dim / 2, 45),
                               {c.tokens, c.head_dim / 2});
    const GuardedTensor sine(random_values(c.tokens * c.head_dim / 2, 46),
                             {c.tokens, c.head_dim / 2});
    const Shape shape{c.tokens, c.heads, c.head_dim};
    const GuardedTensor x(random_values(shape.numel(), 47), shape);
    const Tensor expected = copy_of(*x);
    reference().rotate(*cosine, *sine, expected);
    backend().rotate(*cosine, *sine, *x);
    ASSERT_TRUE(near(*x, expected, kRotateTolerance)) << shape.to_string();
    ASSERT_TRUE(x.guards_hold()) << shape.to_string();
  }
}

TEST_P(Pointwise, ArgmaxFindsTheFirstOfTheLargest) {
  for (const int64_t n : {1, 2, 31, 1000, 4099}) {
    for (const int64_t rows : {1, 3}) {
      std::vector<float> values = random_values(rows * n, 77);
      const int64_t at = n / 3;
      values[static_cast<size_t>((rows - 1) * n + at)] = 9;
      values[static_cast<size_t>(rows * n - 1)] = 9;  // equal, and later
      const GuardedTensor x(values, {rows, n});
      const GuardedTensor expected(DType::i32, {rows});
      const GuardedTensor out(DType::i32, {rows});
      for (const int64_t count : {n, (n + 1) / 2}) {
        reference().argmax(*x, count, *expected);
        backend().argmax(*x, count, *out);
        EXPECT_TRUE(std::ranges::equal((*out).span<int32_t>(), (*expected).span<int32_t>()))
            << rows << " rows, " << count << " of " << n;
      }
      EXPECT_EQ((*expected).span<int32_t>()[static_cast<size_t>(rows - 1)], at);
      EXPECT_TRUE(out.guards_hold());
    }
  }
}

}  // namespace
}  // namespace squint::test
