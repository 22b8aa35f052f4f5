// The sums of calibration: second moments, absolute sums, dot products.
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "conformance/guarded_tensor.h"
#include "conformance/on_every_backend.h"
#include "conformance/random_values.h"

namespace squint::test {
namespace {

constexpr int64_t kRows[] = {1, 2, 3, 13, 14, 15, 33, 257};
constexpr int64_t kSizes[] = {1, 8, 16, 17, 31, 33, 64, 65, 130};

class Sums : public OnEveryBackend {
 protected:
  static Tolerance moment_tolerance() {
    return is_fast() ? kFastMomentTolerance : kSecondMomentTolerance;
  }
};
INSTANTIATE_TEST_SUITE_P(Kernels, Sums, ::testing::ValuesIn(backends_here()), backend_name);

// What lies below the diagonal is nobody's.
void zero_below_the_diagonal(const Tensor& square) {
  const int64_t n = square.dim(0);
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j < i; ++j) square.span<float>()[static_cast<size_t>(i * n + j)] = 0;
  }
}

TEST_P(Sums, SecondMomentAddsToWhatIsThere) {
  for (const int64_t rows : kRows) {
    for (const int64_t n : kSizes) {
      const GuardedTensor x(random_values(rows * n, 50), {rows, n});
      const GuardedTensor sum(random_values(n * n, 51), {n, n});
      const Tensor expected = copy_of(*sum);
      reference().add_second_moment(*x, expected);
      backend().add_second_moment(*x, *sum);
      zero_below_the_diagonal(expected);
      zero_below_the_diagonal(*sum);
      ASSERT_TRUE(near(*sum, expected, moment_tolerance())) << rows << " rows of " << n;
      ASSERT_TRUE(sum.guards_hold()) << rows << " rows of " << n;
    }
  }
}

TEST_P(Sums, CrossMomentAddsToWhatIsThere) {
  for (const int64_t rows : {1, 14, 257}) {
    for (const int64_t n : kSizes) {
      const GuardedTensor x(random_values(rows * n, 56), {rows, n});
      const GuardedTensor y(random_values(rows * n, 57), {rows, n});
      const GuardedTensor sum(random_values(n * n, 58), {n, n});
      const Tensor expected = copy_of(*sum);
      reference().add_cross_moment(*x, *y, expected);
      backend().add_cross_moment(*x, *y, *sum);
      ASSERT_TRUE(near(*sum, expected, moment_tolerance())) << rows << " rows of " << n;
      ASSERT_TRUE(sum.guards_hold()) << rows << " rows of " << n;
    }
  }
}

TEST_P(Sums, AbsSumAddsToWhatIsThere) {
  for (const int64_t rows : kRows) {
    for (const int64_t n : kSizes) {
      const GuardedTensor x(random_values(rows * n, 52), {rows, n});
      const GuardedTensor sum(random_values(n, 53), {n});
      const Tensor expected = copy_of(*sum);
      reference().add_abs_sum(*x, expected);
      backend().add_abs_sum(*x, *sum);
      ASSERT_TRUE(near(*sum, expected, kAbsSumTolerance)) << rows << " rows of " << n;
      ASSERT_TRUE(sum.guards_hold()) << rows << " rows of " << n;
    }
  }
}

TEST_P(Sums, Dot) {
  for (const int64_t rows : kRows) {
    for (const int64_t n : {int64_t{1}, int64_t{15}, int64_t{16}, int64_t{17}, int64_t{1000}}) {
      const GuardedTensor a(random_values(rows * n, 54), {rows, n});
      const GuardedTensor b(random_values(rows * n, 55), {rows, n});
      const double expected = reference().dot(*a, *b, 0);
      EXPECT_NEAR(backend().dot(*a, *b, 0), expected,
                  kDotTolerance.abs + kDotTolerance.rel * std::abs(expected))
          << rows << " rows of " << n;
    }
  }
}

TEST_P(Sums, DotOfSomeColumns) {
  const Tensor a = Tensor::copy_of<float>(std::vector<float>{1, 2, 3, 4, 5, 6}, {2, 3});
  EXPECT_EQ(backend().dot(a, Tensor::copy_of<float>(std::vector<float>{1, -1, 2, 1}, {2, 2}), 1),
            2 - 3 + 10 + 6);
  EXPECT_EQ(backend().dot(a, Tensor::copy_of<float>(std::vector<float>{2, 3}, {2, 1}), 0), 2 + 12);
}

// Totals beyond float32: 2^24 rows' worth of ones would stick there.
TEST_P(Sums, DotTotalsInDouble) {
  const GuardedTensor a(std::vector<float>{16777216.0f, 1.0f, 1.0f}, {3, 1});
  const GuardedTensor b(std::vector<float>{1.0f, 1.0f, 1.0f}, {3, 1});
  EXPECT_EQ(backend().dot(*a, *b, 0), 16777218.0);
}

}  // namespace
}  // namespace squint::test
