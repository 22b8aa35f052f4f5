#include "quantize/gptq.h"

#include <Eigen/Core>
#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/check.h"
#include "quantize/cholesky.h"
#include "squint/error.h"

namespace squint::quantize {
namespace {

using Matrix = Eigen::MatrixXd;
using HostMatrix =
    Eigen::Map<const Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>>;

constexpr double kRidge = 0.05;

HostMatrix view(const Tensor& t) { return {t.span<const float>().data(), t.dim(0), t.dim(1)}; }

double mean_diagonal(const HostMatrix& h) {
  return h.diagonal().cast<double>().sum() / static_cast<double>(h.rows());
}

// Columns by falling E[x²]; equal ones in their own order.
std::vector<int32_t> falling_order(const HostMatrix& h) {
  std::vector<int32_t> order(static_cast<size_t>(h.rows()));
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(order, [&](int32_t a, int32_t b) { return h(a, a) > h(b, b); });
  return order;
}

// The lower factor of H + damp with rows and columns in the order reversed: read backwards it is
// the upper one of H = U D Uᵀ.
Matrix reversed_factor(const HostMatrix& h, const std::vector<int32_t>& order, double damp,
                       double shrinkage, const LongWork& work) {
  const auto n = static_cast<Eigen::Index>(order.size());
  Matrix m(n, n);
  for (Eigen::Index j = 0; j < n; ++j) {
    for (Eigen::Index i = j; i < n; ++i) {
      m(i, j) = h(order[static_cast<size_t>(n - 1 - i)], order[static_cast<size_t>(n - 1 - j)]);
    }
    m(j, j) += shrinkage * m(j, j) + damp;
  }
  if (!factor_cholesky(m, work.threads, work.between)) return {};
  return m;
}

}  // namespace

AdaptiveRounding adaptive_rounding(const Tensor& hessian, const Damping& damping, int rounds,
                                   const LongWork& work) {
  SQUINT_CHECK(hessian.dim(0) == hessian.dim(1));
  const HostMatrix h = view(hessian);
  const Eigen::Index n = h.rows();
  const double mean = mean_diagonal(h);
  AdaptiveRounding out;
  out.rounds = rounds;
  out.order = falling_order(h);
  // Inputs that are always zero: every weight is as good as another.
  double damp = mean > 0 ? damping.dampening * mean : 1.0;
  Matrix lower;
  for (int attempt = 0; lower.size() == 0; ++attempt) {
    if (attempt == 6 || !std::isfinite(mean)) {
      throw Error(
          ErrorCode::bad_input,
          "the calibration activations have no usable second moments; is a row degenerate?");
    }
    if (attempt > 0) damp = std::max(10 * damp, 1e-4 * mean);
    lower = reversed_factor(h, out.order, damp, damping.shrinkage, work);
  }
  out.hessian = Tensor::on_host(DType::f32, hessian.shape());
  out.feedback = Tensor::on_host(DType::f32, hessian.shape());
  out.importance = Tensor::on_host(DType::f32, {hessian.dim(0)});
  const std::span<float> damped = out.hessian.span<float>();
  std::ranges::copy(hessian.span<const float>(), damped.begin());
  const std::span<float> feedback = out.feedback.span<float>();
  for (Eigen::Index k = 0; k < n; ++k) {
    damped[static_cast<size_t>(k * n + k)] +=
        static_cast<float>(damping.shrinkage * h(k, k) + damp);
    out.importance.span<float>()[static_cast<size_t>(k)] = h(k, k);
    for (Eigen::Index j = 0; j < n; ++j) {
      feedback[static_cast<size_t>(k * n + j)] =
          j < k ? static_cast<float>(lower(n - 1 - j, n - 1 - k) / lower(n - 1 - k, n - 1 - k)) : 0;
    }
  }
  return out;
}

Tensor propagated(const Tensor& weight, const Tensor& wc, const Tensor& hessian, double strength,
                  const LongWork& work) {
  const HostMatrix w = view(weight);
  const HostMatrix target = view(wc);
  const double ridge = kRidge * mean_diagonal(view(hessian));
  Matrix h = view(hessian).cast<double>();
  h.diagonal().array() += ridge;
  if (!factor_cholesky(h, work.threads, work.between)) return weight;  // always zero
  Tensor out = Tensor::on_host(DType::f32, weight.shape());
  const std::span<float> to = out.span<float>();
  const Eigen::Index n = w.cols();
  // Rows are solved for in blocks of a fixed size, whatever the number of threads.
  constexpr int64_t kBlock = 32;
  const int64_t blocks = (w.rows() + kBlock - 1) / kBlock;
  work.threads.parallel_for(blocks, 1, [&](int64_t begin, int64_t end, int worker) {
    for (int64_t block = begin; block < end; ++block) {
      if (worker == 0) work.between();
      const Eigen::Index first = block * kBlock;
      const Eigen::Index count = std::min<Eigen::Index>(kBlock, w.rows() - first);
      const Matrix rows = w.middleRows(first, count).cast<double>();
      Matrix wanted = (target.middleRows(first, count).cast<double>() + ridge * rows).transpose();
      solve_cholesky(h, wanted);
      for (Eigen::Index r = 0; r < count; ++r) {
        for (Eigen::Index i = 0; i < n; ++i) {
          to[static_cast<size_t>((first + r) * n + i)] =
              static_cast<float>(rows(r, i) + strength * (wanted(i, r) - rows(r, i)));
        }
      }
    }
  });
  return out;
}

}  // namespace squint::quantize
