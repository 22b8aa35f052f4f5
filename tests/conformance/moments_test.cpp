// Triangular factors, what is solved with them, and what else the quantizer asks of moments and
// weights.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "conformance/guarded_tensor.h"
#include "conformance/on_every_backend.h"
#include "conformance/random_values.h"

namespace squint::test {
namespace {

class Moments : public OnEveryBackend {};
INSTANTIATE_TEST_SUITE_P(Kernels, Moments, ::testing::ValuesIn(backends_here()), backend_name);

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

TEST_P(Moments, TimesItselfIsTheMatrix) {
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

TEST_P(Moments, SolvesForWhatWasMultiplied) {
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

TEST_P(Moments, WhatIsNotPositiveIsSaid) {
  for (const int64_t at : {0, 100, 290}) {
    std::vector<float> h = moments(300, 123);
    h[static_cast<size_t>(at * 300 + at)] = -1;
    EXPECT_FALSE(backend().factor_cholesky(Tensor::copy_of<float>(h, {300, 300}), kOn)) << at;
    h[static_cast<size_t>(at * 300 + at)] = std::numeric_limits<float>::quiet_NaN();
    EXPECT_FALSE(backend().factor_cholesky(Tensor::copy_of<float>(h, {300, 300}), kOn)) << at;
  }
}

TEST_P(Moments, MomentsAreFinished) {
  for (const int64_t n : {1, 31, 32, 33, 100}) {
    const GuardedTensor m(random_values(n * n, 124), {n, n});
    const Tensor expected = copy_of(*m);
    EXPECT_TRUE(reference().finish_moment(expected, 3.5));
    EXPECT_TRUE(backend().finish_moment(*m, 3.5));
    EXPECT_TRUE(same_bits(*m, expected)) << n;
    const Tensor factors = Tensor::copy_of<float>(random_values(n, 125), {n});
    for (const Tensor& f : {Tensor(), factors}) {
      EXPECT_TRUE(reference().divide_columns(expected, 1.7, f));
      EXPECT_TRUE(backend().divide_columns(*m, 1.7, f));
      EXPECT_TRUE(same_bits(*m, expected)) << n;
    }
    reference().add_to_diagonal(expected, 0.2, 0.01);
    backend().add_to_diagonal(*m, 0.2, 0.01);
    EXPECT_TRUE(same_bits(*m, expected)) << n;
    const Tensor diagonal = Tensor::on_host(DType::f32, {n});
    backend().diagonal(*m, diagonal);
    for (int64_t i = 0; i < n; ++i) {
      EXPECT_EQ(diagonal.span<float>()[i], expected.span<float>()[i * n + i]);
    }
    backend().combine(0.25f, expected, 2, *m);
    reference().combine(0.25f, copy_of(expected), 2, expected);
    EXPECT_TRUE(near(*m, expected, kRotateTolerance)) << n;
    backend().clear(*m);
    for (const float value : (*m).span<float>()) EXPECT_EQ(value, 0);
    EXPECT_TRUE(m.guards_hold()) << n;
  }
}

TEST_P(Moments, WhatIsNotFiniteIsSaid) {
  std::vector<float> values = random_values(70 * 70, 126);
  values[69 * 70 + 69] = std::numeric_limits<float>::infinity();
  EXPECT_FALSE(backend().finish_moment(Tensor::copy_of<float>(values, {70, 70}), 2));
  EXPECT_FALSE(backend().divide_columns(Tensor::copy_of<float>(values, {70, 70}), 2, {}));
}

TEST_P(Moments, FeedbackOfAFactor) {
  for (const int64_t n : {1, 2, 63, 64, 301}) {
    const GuardedTensor m(random_values(n * n, 127), {n, n});
    std::vector<int32_t> order(static_cast<size_t>(n));
    for (int64_t i = 0; i < n; ++i) order[static_cast<size_t>(i)] = static_cast<int32_t>(i * 7 % n);
    const GuardedTensor found(DType::f32, {n, n});
    const GuardedTensor expected(DType::f32, {n, n});
    reference().reorder(*m, order, *expected);
    backend().reorder(*m, order, *found);
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t j = 0; j < n; ++j) {
        if (j >= i) continue;  // what is below is nobody's
        (*expected).span<float>()[i * n + j] = (*found).span<float>()[i * n + j] = 1;
      }
    }
    EXPECT_TRUE(same_bits(*found, *expected)) << n;
    reference().make_feedback(*expected);
    backend().make_feedback(*found);
    EXPECT_TRUE(same_bits(*found, *expected)) << n;
    EXPECT_TRUE(found.guards_hold()) << n;
  }
}

TEST_P(Moments, WeightsAreScaled) {
  const Tensor weight = Tensor::copy_of<bf16>(random_bf16(5 * 33, 128), {5, 33});
  const Tensor columns = Tensor::copy_of<float>(random_values(33, 129), {33});
  const Tensor rows = Tensor::copy_of<float>(random_values(5, 130), {5});
  for (const DType dtype : {DType::f32, DType::bf16}) {
    for (const auto& [c, r] : {std::pair<Tensor, Tensor>{}, {columns, {}}, {columns, rows}}) {
      const GuardedTensor found(dtype, {5, 33});
      const GuardedTensor expected(dtype, {5, 33});
      reference().scale_weight(weight, c, r, *expected);
      backend().scale_weight(weight, c, r, *found);
      EXPECT_TRUE(same_bits(*found, *expected));
      EXPECT_TRUE(found.guards_hold());
    }
  }
}

}  // namespace
}  // namespace squint::test
