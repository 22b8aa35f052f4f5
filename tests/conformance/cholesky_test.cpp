// Triangular factors, and what is solved with them.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "conformance/guarded_tensor.h"
#include "conformance/on_every_backend.h"
#include "conformance/random_values.h"

namespace squint::test {
namespace {

class Cholesky : public OnEveryBackend {};
INSTANTIATE_TEST_SUITE_P(Kernels, Cholesky, ::testing::ValuesIn(backends_here()), backend_name);

constexpr int64_t kSizes[] = {1, 2, 15, 16, 17, 255, 256, 257, 530};
const Between kOn = [] {};

// Positive definite, and as uneven as second moments are.
std::vector<float> moments(int64_t n, uint64_t seed) {
  const int64_t tokens = n / 2 + 1;
  const std::vector<float> x = random_values(tokens * n, seed);
  std::vector<float> h(static_cast<size_t>(n * n));
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      double sum = i == j ? 0.2 * static_cast<double>(tokens) : 0;
      for (int64_t t = 0; t < tokens; ++t) {
        sum += static_cast<double>(x[static_cast<size_t>(t * n + i)]) *
               x[static_cast<size_t>(t * n + j)];
      }
      const auto loud = static_cast<double>((1 + i % 7) * (1 + j % 7));
      h[static_cast<size_t>(i * n + j)] = static_cast<float>(sum * loud);
    }
  }
  return h;
}

TEST_P(Cholesky, TimesItselfIsTheMatrix) {
  for (const int64_t n : kSizes) {
    const std::vector<float> h = moments(n, 120);
    const GuardedTensor m(h, {n, n});
    ASSERT_TRUE(backend().factor_cholesky(*m, kOn)) << n;
    const std::span<const float> r = (*m).span<const float>();
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t j = i; j < n; ++j) {
        double sum = 0;
        for (int64_t k = 0; k <= i; ++k) sum += static_cast<double>(r[k * n + i]) * r[k * n + j];
        const double size = std::sqrt(static_cast<double>(h[i * n + i]) * h[j * n + j]);
        ASSERT_NEAR(sum, h[i * n + j], kCholeskyTolerance.rel * size)
            << n << ": " << i << ", " << j;
      }
    }
    EXPECT_TRUE(m.guards_hold()) << n;
  }
}

TEST_P(Cholesky, SolvesForWhatWasMultiplied) {
  for (const int64_t n : kSizes) {
    for (const int64_t rows : {1, 5, 40}) {
      const std::vector<float> h = moments(n, 121);
      const GuardedTensor factor(h, {n, n});
      ASSERT_TRUE(backend().factor_cholesky(*factor, kOn));
      const std::vector<float> wanted = random_values(rows * n, 122);
      std::vector<float> product(wanted.size());
      for (int64_t i = 0; i < rows * n; ++i) {
        double sum = 0;
        for (int64_t k = 0; k < n; ++k) {
          sum += static_cast<double>(wanted[i / n * n + k]) * h[k * n + i % n];
        }
        product[i] = static_cast<float>(sum);
      }
      const GuardedTensor x(product, {rows, n});
      backend().solve_cholesky(*factor, *x, kOn);
      ASSERT_TRUE(near(*x, Tensor::copy_of<float>(wanted, {rows, n}), kCholeskySolveTolerance))
          << rows << " rows of " << n;
      EXPECT_TRUE(x.guards_hold() && factor.guards_hold()) << rows << " rows of " << n;
    }
  }
}

TEST_P(Cholesky, WhatIsNotPositiveIsSaid) {
  for (const int64_t at : {0, 100, 290}) {
    std::vector<float> h = moments(300, 123);
    h[static_cast<size_t>(at * 300 + at)] = -1;
    EXPECT_FALSE(backend().factor_cholesky(Tensor::copy_of<float>(h, {300, 300}), kOn)) << at;
    h[static_cast<size_t>(at * 300 + at)] = std::numeric_limits<float>::quiet_NaN();
    EXPECT_FALSE(backend().factor_cholesky(Tensor::copy_of<float>(h, {300, 300}), kOn)) << at;
  }
}

}  // namespace
}  // namespace squint::test
