// Factors and solves by blocks: what is cubic in them are products, which the kernels do.
#include <Eigen/Cholesky>
#include <algorithm>

#include "backends/cpu/cpu_backend.h"
#include "base/checked_math.h"

namespace squint::cpu {
namespace {

constexpr int64_t kBlock = 256;   // of the diagonal
constexpr int64_t kSlab = 1024;   // rows or columns of a product
constexpr int64_t kRowGrain = 8;  // of loops over rows

using RowMatrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using Strided = Eigen::Map<RowMatrix, 0, Eigen::OuterStride<>>;

// Rows and columns of a row-major matrix.
Strided part(const Tensor& m, int64_t row, int64_t column, int64_t rows, int64_t columns) {
  return {m.span<float>().data() + row * m.dim(1) + column, rows, columns,
          Eigen::OuterStride<>(m.dim(1))};
}

Strided whole(const Tensor& m) { return part(m, 0, 0, m.dim(0), m.dim(1)); }

// A matrix of its own from `from`, transposed.
Tensor transposed(const Strided& from, ThreadPool& pool) {
  const Tensor out = Tensor::on_host(DType::f32, {from.cols(), from.rows()});
  pool.parallel_for(from.cols(), kRowGrain, [&](int64_t begin, int64_t end, int) {
    part(out, begin, 0, end - begin, from.rows()) = from.middleCols(begin, end - begin).transpose();
  });
  return out;
}

Tensor copied(const Strided& from, ThreadPool& pool) {
  const Tensor out = Tensor::on_host(DType::f32, {from.rows(), from.cols()});
  pool.parallel_for(from.rows(), kRowGrain, [&](int64_t begin, int64_t end, int) {
    part(out, begin, 0, end - begin, from.cols()) = from.middleRows(begin, end - begin);
  });
  return out;
}

void subtract(const Tensor& what, Strided from, ThreadPool& pool) {
  pool.parallel_for(from.rows(), kRowGrain, [&](int64_t begin, int64_t end, int) {
    from.middleRows(begin, end - begin) -= part(what, begin, 0, end - begin, from.cols());
  });
}

// R⁻ᵀ of a corner of R, which makes a product of what would be a triangular solve.
Tensor inverse_transposed(const Strided& corner) {
  const Eigen::MatrixXd r = corner.cast<double>();
  const Eigen::MatrixXd one = Eigen::MatrixXd::Identity(r.rows(), r.cols());
  const Tensor out = Tensor::on_host(DType::f32, {r.rows(), r.cols()});
  whole(out) = r.triangularView<Eigen::Upper>().transpose().solve(one).cast<float>();
  return out;
}

bool factor_corner(Strided corner) {
  const Eigen::MatrixXd lower = corner.transpose().cast<double>();
  const Eigen::LLT<Eigen::MatrixXd, Eigen::Lower> factor(lower);
  if (factor.info() != Eigen::Success) return false;
  const Eigen::MatrixXd r = factor.matrixU();
  if (!r.allFinite()) return false;
  corner.triangularView<Eigen::Upper>() = r.cast<float>();
  return true;
}

// x · Wᵀ
Tensor product(CpuBackend& backend, const Tensor& x, const Tensor& w) {
  LinearWeight weight{.out_features = w.dim(0), .in_features = w.dim(1)};
  weight.weight = w;
  Tensor out = Tensor::on_host(DType::f32, {x.dim(0), w.dim(0)});
  backend.linear(x, backend.prepare(weight), out);
  return out;
}

}  // namespace

bool CpuBackend::factor_cholesky(const Tensor& m, const Between& between) {
  const int64_t n = m.dim(0);
  for (int64_t at = 0; at < n; at += kBlock) {
    const int64_t width = std::min(kBlock, n - at);
    const int64_t first = at + width;
    const int64_t rest = n - first;
    if (!factor_corner(part(m, at, at, width, width))) return false;
    if (rest == 0) break;
    // R[at, rest] = R_at⁻ᵀ m[at, rest], here as its transpose: as many rows as there are left.
    const Strided right = part(m, at, first, width, rest);
    const Tensor below =
        product(*this, transposed(right, pool_), inverse_transposed(part(m, at, at, width, width)));
    part(m, at, first, width, rest) = whole(below).transpose();
    for (int64_t row = 0; row < rest; row += kSlab) {
      between();
      const int64_t rows = std::min(kSlab, rest - row);
      subtract(product(*this, below.rows(row, rows), below.rows(row, rest - row)),
               part(m, first + row, first + row, rows, rest - row), pool_);
    }
  }
  return true;
}

void CpuBackend::solve_cholesky(const Tensor& factor, const Tensor& x, const Between& between) {
  const int64_t n = factor.dim(0);
  const int64_t rows = x.dim(0);
  const auto each_slab = [&](int64_t begin, int64_t end, const auto& body) {
    for (int64_t at = begin; at < end; at += kSlab) {
      between();
      body(at, std::min(kSlab, end - at));
    }
  };
  // y R = x
  for (int64_t at = 0; at < n; at += kBlock) {
    const int64_t width = std::min(kBlock, n - at);
    const Strided block = part(x, 0, at, rows, width);
    const Tensor y = product(*this, copied(block, pool_),
                             inverse_transposed(part(factor, at, at, width, width)));
    part(x, 0, at, rows, width) = whole(y);
    each_slab(at + width, n, [&](int64_t column, int64_t count) {
      const Tensor r = transposed(part(factor, at, column, width, count), pool_);
      subtract(product(*this, y, r), part(x, 0, column, rows, count), pool_);
    });
  }
  // z Rᵀ = y
  for (int64_t block = ceil_div(n, kBlock); block-- > 0;) {
    const int64_t at = block * kBlock;
    const int64_t width = std::min(kBlock, n - at);
    const Tensor inverse = inverse_transposed(part(factor, at, at, width, width));
    const Tensor z = product(*this, copied(part(x, 0, at, rows, width), pool_),
                             transposed(whole(inverse), pool_));
    part(x, 0, at, rows, width) = whole(z);
    each_slab(0, at, [&](int64_t column, int64_t count) {
      const Tensor r = copied(part(factor, column, at, count, width), pool_);
      subtract(product(*this, z, r), part(x, 0, column, rows, count), pool_);
    });
  }
}

}  // namespace squint::cpu
