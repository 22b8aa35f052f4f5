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

// On the host.
Tensor diagonal_of(Context& cx, const Tensor& hessian) {
  Tensor out = Tensor::on_host(DType::f32, {hessian.dim(0)});
  ops::diagonal(cx, hessian, out);
  return out;
}

double mean(std::span<const float> values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

// Columns by falling E[x²]; equal ones in their own order.
std::vector<int32_t> falling_order(std::span<const float> squares) {
  std::vector<int32_t> order(squares.size());
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(order, [&](int32_t a, int32_t b) { return squares[a] > squares[b]; });
  return order;
}

// False where H + damp is not positive enough.
bool find_feedback(Context& cx, const Tensor& hessian, const std::vector<int32_t>& order,
                   double damp, double shrinkage, const Between& between, const Tensor& out) {
  const std::vector<int32_t> reversed(order.rbegin(), order.rend());
  ops::reorder(cx, hessian, reversed, out);
  ops::add_to_diagonal(cx, out, shrinkage, damp);
  if (!ops::factor_cholesky(cx, out, between)) return false;
  ops::make_feedback(cx, out);
  return true;
}

}  // namespace

AdaptiveRounding adaptive_rounding(Context& cx, Tensor hessian, const Damping& damping, int rounds,
                                   const Between& between) {
  AdaptiveRounding out;
  out.rounds = rounds;
  out.importance = diagonal_of(cx, hessian);
  const std::span<const float> squares = out.importance.span<const float>();
  const double middle = mean(squares);
  out.order = falling_order(squares);
  out.feedback = Tensor(cx.backend.allocate(hessian.bytes()), 0, DType::f32, hessian.shape());
  // Inputs that are always zero: every weight is as good as another.
  double damp = middle > 0 ? damping.dampening * middle : 1.0;
  for (int attempt = 0;; ++attempt) {
    if (attempt == 6 || !std::isfinite(middle)) {
      throw Error(
          ErrorCode::bad_input,
          "the calibration activations have no usable second moments; is a row degenerate?");
    }
    if (attempt > 0) damp = std::max(10 * damp, 1e-4 * middle);
    if (find_feedback(cx, hessian, out.order, damp, damping.shrinkage, between, out.feedback)) {
      break;
    }
  }
  ops::add_to_diagonal(cx, hessian, damping.shrinkage, damp);
  out.hessian = std::move(hessian);
  return out;
}

void propagate(Context& cx, const Tensor& hessian, std::span<const Tensor> weights,
               std::span<const Tensor> targets, double strength, const Between& between) {
  SQUINT_CHECK(weights.size() == targets.size());
  const double ridge = kRidge * mean(diagonal_of(cx, hessian).span<const float>());
  const Tensor factor = copy_to_device(cx, hessian);
  ops::add_to_diagonal(cx, factor, 0, ridge);
  const bool positive = ops::factor_cholesky(cx, factor, between);
  for (size_t i = 0; i < weights.size(); ++i) {
    if (!positive) {  // the inputs are always zero
      cx.backend.copy(weights[i], targets[i]);
      continue;
    }
    ops::combine(cx, static_cast<float>(ridge), weights[i], 1, targets[i]);
    ops::solve_cholesky(cx, factor, targets[i], between);
    ops::combine(cx, static_cast<float>(1 - strength), weights[i], static_cast<float>(strength),
                 targets[i]);
  }
}

}  // namespace squint::quantize
