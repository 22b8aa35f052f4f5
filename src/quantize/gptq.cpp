#include "quantize/gptq.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/check.h"
#include "ops/copies.h"
#include "squint/error.h"

namespace squint::quantize {
namespace {

constexpr double kRidge = 0.05;

double mean_diagonal(const Tensor& h) {
  const int64_t n = h.dim(0);
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += h.span<const float>()[i * n + i];
  return sum / static_cast<double>(n);
}

// Columns by falling E[x²]; equal ones in their own order.
std::vector<int32_t> falling_order(std::span<const float> squares) {
  std::vector<int32_t> order(squares.size());
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(order, [&](int32_t a, int32_t b) { return squares[a] > squares[b]; });
  return order;
}

void each_row(Context& cx, int64_t rows, const std::function<void(int64_t)>& body) {
  cx.backend.host_threads().parallel_for(rows, 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t row = begin; row < end; ++row) body(row);
  });
}

// The factor of H + damp with rows and columns in the order reversed, or nothing.
Tensor reversed_factor(Context& cx, const Tensor& hessian, const std::vector<int32_t>& order,
                       double damp, double shrinkage, const Between& between) {
  const int64_t n = hessian.dim(0);
  const Tensor m = Tensor::on_host(DType::f32, hessian.shape());
  each_row(cx, n, [&](int64_t i) {
    const float* from = hessian.span<const float>().data() + order[n - 1 - i] * n;
    float* to = m.span<float>().data() + i * n;
    for (int64_t j = i; j < n; ++j) to[j] = from[order[n - 1 - j]];
    to[i] = static_cast<float>(to[i] + shrinkage * to[i] + damp);
  });
  const Tensor there = on_device(cx, m);
  return ops::factor_cholesky(cx, there, between) ? on_host(cx, there) : Tensor();
}

// Rᵀ R = H reversed is H = U D Uᵀ with U and D read backwards from R: turned around, R is the
// lower triangle Uᵀ, whose rows times its diagonal.
void make_feedback(Context& cx, const Tensor& factor) {
  const int64_t n = factor.dim(0);
  const std::span<float> values = factor.span<float>();
  each_row(cx, (n + 1) / 2, [&](int64_t i) {
    const auto row = values.begin() + i * n;
    const auto last = values.end() - i * n;  // behind the row that takes its place
    const bool middle = i == n - 1 - i;
    for (int64_t j = 0; j < (middle ? n / 2 : n); ++j) std::swap(row[j], last[-1 - j]);
  });
  each_row(cx, n, [&](int64_t k) {
    const std::span<float> row = values.subspan(static_cast<size_t>(k * n), static_cast<size_t>(n));
    const double diagonal = row[k];
    for (int64_t j = 0; j < n; ++j) row[j] = j < k ? static_cast<float>(row[j] / diagonal) : 0;
  });
}

}  // namespace

AdaptiveRounding adaptive_rounding(Context& cx, Tensor hessian, const Damping& damping, int rounds,
                                   const Between& between) {
  SQUINT_CHECK(hessian.dim(0) == hessian.dim(1));
  const int64_t n = hessian.dim(0);
  const double mean = mean_diagonal(hessian);
  AdaptiveRounding out;
  out.rounds = rounds;
  out.importance = Tensor::on_host(DType::f32, {n});
  const std::span<float> squares = out.importance.span<float>();
  for (int64_t k = 0; k < n; ++k) squares[k] = hessian.span<float>()[k * n + k];
  out.order = falling_order(squares);
  // Inputs that are always zero: every weight is as good as another.
  double damp = mean > 0 ? damping.dampening * mean : 1.0;
  for (int attempt = 0; out.feedback.empty(); ++attempt) {
    if (attempt == 6 || !std::isfinite(mean)) {
      throw Error(
          ErrorCode::bad_input,
          "the calibration activations have no usable second moments; is a row degenerate?");
    }
    if (attempt > 0) damp = std::max(10 * damp, 1e-4 * mean);
    out.feedback = reversed_factor(cx, hessian, out.order, damp, damping.shrinkage, between);
  }
  make_feedback(cx, out.feedback);
  for (int64_t k = 0; k < n; ++k) {
    hessian.span<float>()[k * n + k] += static_cast<float>(damping.shrinkage * squares[k] + damp);
  }
  out.hessian = std::move(hessian);
  return out;
}

void propagate(Context& cx, const Tensor& hessian, std::span<const Tensor> weights,
               std::span<const Tensor> targets, double strength, const Between& between) {
  SQUINT_CHECK(weights.size() == targets.size());
  const int64_t n = hessian.dim(0);
  const auto ridge = static_cast<float>(kRidge * mean_diagonal(hessian));
  Tensor ridged = copy_to_host(cx, hessian);
  for (int64_t i = 0; i < n; ++i) ridged.span<float>()[i * n + i] += ridge;
  const Tensor factor = on_device(cx, ridged);
  ridged = {};
  const bool positive = ops::factor_cholesky(cx, factor, between);
  for (size_t i = 0; i < weights.size(); ++i) {
    const float* weight = weights[i].span<const float>().data();
    float* target = targets[i].span<float>().data();
    if (!positive) {  // the inputs are always zero
      std::copy_n(weight, weights[i].numel(), target);
      continue;
    }
    const auto each_value = [&](const auto& body) {
      each_row(cx, weights[i].dim(0), [&](int64_t row) {
        for (int64_t at = row * n; at < (row + 1) * n; ++at) body(at);
      });
    };
    each_value([&](int64_t at) { target[at] += ridge * weight[at]; });
    const Tensor there = on_device(cx, targets[i]);
    ops::solve_cholesky(cx, factor, there, between);
    const Tensor closest = on_host(cx, there);
    const float* best = closest.span<const float>().data();
    each_value([&](int64_t at) {
      target[at] = static_cast<float>(weight[at] + strength * (best[at] - weight[at]));
    });
  }
}

}  // namespace squint::quantize
