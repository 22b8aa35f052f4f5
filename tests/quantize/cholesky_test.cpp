#include "quantize/cholesky.h"

#include <gtest/gtest.h>

#include <stdexcept>

#include "base/random.h"

namespace squint::quantize {
namespace {

using Matrix = Eigen::MatrixXd;

// Positive definite, and as uneven as second moments are.
Matrix moments(Eigen::Index n, uint64_t seed) {
  Random random(seed);
  Matrix x(2 * n, n);
  for (Eigen::Index j = 0; j < n; ++j) {
    for (Eigen::Index i = 0; i < 2 * n; ++i) {
      x(i, j) = (random.uniform() - 0.5) * static_cast<double>(1 + j % 7);
    }
  }
  return x.transpose() * x;
}

TEST(Cholesky, TimesItselfIsTheMatrix) {
  for (const Eigen::Index n : {1, 2, 95, 96, 97, 192, 301}) {
    const Matrix m = moments(n, 5);
    Matrix factor = m;
    ThreadPool threads(3);
    ASSERT_TRUE(factor_cholesky(factor, threads)) << n;
    const Matrix lower = factor.triangularView<Eigen::Lower>();
    EXPECT_LT((lower * lower.transpose() - m).norm(), 1e-12 * m.norm()) << n;
    Matrix x = m * Matrix::Constant(n, 3, 0.5);
    solve_cholesky(factor, x);
    EXPECT_LT((x - Matrix::Constant(n, 3, 0.5)).norm(), 1e-8) << n;
  }
}

TEST(Cholesky, ThreadsDoNotChangeBits) {
  Matrix one = moments(301, 6);
  Matrix five = one;
  ThreadPool a(1);
  ThreadPool b(5);
  ASSERT_TRUE(factor_cholesky(one, a) && factor_cholesky(five, b));
  EXPECT_EQ(one, five);
}

TEST(Cholesky, WhatIsNotPositiveIsSaid) {
  ThreadPool threads(2);
  for (const Eigen::Index at : {0, 100, 200}) {
    Matrix m = moments(201, 7);
    m(at, at) = -1;
    EXPECT_FALSE(factor_cholesky(m, threads)) << at;
  }
}

TEST(Cholesky, StopsBetweenBlocks) {
  Matrix m = moments(301, 8);
  ThreadPool threads(2);
  int calls = 0;
  EXPECT_THROW(factor_cholesky(m, threads,
                               [&] {
                                 if (++calls == 2) throw std::runtime_error("stop");
                               }),
               std::runtime_error);
  EXPECT_EQ(calls, 2);
}

}  // namespace
}  // namespace squint::quantize
