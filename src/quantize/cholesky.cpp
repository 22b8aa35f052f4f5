#include "quantize/cholesky.h"

#include <Eigen/Cholesky>
#include <algorithm>

namespace squint::quantize {
namespace {

using Matrix = Eigen::MatrixXd;
using Eigen::Index;

constexpr Index kBlock = 96;

// Rows `first` and on of the columns of a finished diagonal block: X Lᵀ = A.
void solve_below(Matrix& m, Index at, Index width, ThreadPool& threads) {
  const Matrix corner = m.block(at, at, width, width);
  const Index first = at + width;
  const Index blocks = (m.rows() - first + kBlock - 1) / kBlock;
  threads.parallel_for(blocks, 1, [&](int64_t begin, int64_t end, int) {
    for (Index b = begin; b < end; ++b) {
      const Index row = first + b * kBlock;
      auto part = m.block(row, at, std::min(kBlock, m.rows() - row), width);
      corner.triangularView<Eigen::Lower>().transpose().solveInPlace<Eigen::OnTheRight>(part);
    }
  });
}

// What the finished columns take from the rest: tiles on and below the diagonal.
void update_rest(Matrix& m, Index at, Index width, ThreadPool& threads) {
  const Index first = at + width;
  const Index blocks = (m.rows() - first + kBlock - 1) / kBlock;
  threads.parallel_for(blocks * (blocks + 1) / 2, 1, [&](int64_t begin, int64_t end, int) {
    // Tile (i, j), j <= i, is number i (i + 1) / 2 + j.
    Index i = 0;
    while ((i + 1) * (i + 2) / 2 <= begin) ++i;
    for (Index tile = begin; tile < end; ++tile) {
      if (tile == (i + 1) * (i + 2) / 2) ++i;
      const Index row = first + i * kBlock;
      const Index column = first + (tile - i * (i + 1) / 2) * kBlock;
      const Index height = std::min(kBlock, m.rows() - row);
      const Index breadth = std::min(kBlock, m.rows() - column);
      m.block(row, column, height, breadth).noalias() -=
          m.block(row, at, height, width) * m.block(column, at, breadth, width).transpose();
    }
  });
}

}  // namespace

bool factor_cholesky(Matrix& m, ThreadPool& threads, const std::function<void()>& between_blocks) {
  for (Index at = 0; at < m.rows(); at += kBlock) {
    const Index width = std::min(kBlock, m.rows() - at);
    Eigen::LLT<Matrix> corner(m.block(at, at, width, width));
    if (corner.info() != Eigen::Success) return false;
    m.block(at, at, width, width).triangularView<Eigen::Lower>() = corner.matrixL();
    solve_below(m, at, width, threads);
    update_rest(m, at, width, threads);
    between_blocks();
  }
  return true;
}

void solve_cholesky(const Matrix& factor, Matrix& x) {
  factor.triangularView<Eigen::Lower>().solveInPlace(x);
  factor.triangularView<Eigen::Lower>().transpose().solveInPlace(x);
}

}  // namespace squint::quantize
