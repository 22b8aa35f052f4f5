#include "quantize/pair_statistics.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "ops/copies.h"
#include "squint/error.h"

namespace squint::quantize {
PairStatistics::PairStatistics(Backend& backend, int64_t in, const ClassWeights& weights)
    : weights_(weights),
      moment_(zeros_on_device(backend, {in, in})),
      cross_(zeros_on_device(backend, {in, in})) {}

void PairStatistics::add(Context& cx, const Tensor& x, const Tensor& x_f,
                         std::span<const TokenClass> classes) {
  const Arena::Scope scope(cx.scratch);
  const Tensor weighted = cx.scratch.tensor(x.shape());
  const Tensor weighted_f = cx.scratch.tensor(x.shape());
  const Tensor host = Tensor::on_host(DType::f32, {x.dim(0)});
  for (size_t i = 0; i < classes.size(); ++i) {
    const double weight = weights_[static_cast<size_t>(classes[i])];
    total_ += weight;
    host.span<float>()[i] = static_cast<float>(std::sqrt(weight));
  }
  const Tensor root_weight = cx.scratch.tensor(host.shape());
  cx.backend.copy(host, root_weight);
  ops::scale_rows(cx, x, root_weight, weighted);
  ops::scale_rows(cx, x_f, root_weight, weighted_f);
  ops::add_second_moment(cx, weighted, moment_);
  ops::add_cross_moment(cx, weighted, weighted_f, cross_);
}

void PairStatistics::finish(Context& cx, std::span<const float> smooth, std::string_view where) {
  // Where nothing counts, all moments are 0 and any rounding is as good as another.
  const double weight = total_ > 0 ? total_ : 1;
  moment_ = copy_to_host(cx, moment_);
  cross_ = copy_to_host(cx, cross_);
  const int64_t n = moment_.dim(0);
  const std::span<float> h = moment_.span<float>();
  const std::span<float> c = cross_.span<float>();
  bool finite = true;
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      const double divisor = smooth.empty() ? weight : weight * static_cast<double>(smooth[j]);
      c[i * n + j] = static_cast<float>(c[i * n + j] / divisor);
      finite = finite && std::isfinite(c[i * n + j]);
      if (j < i) continue;
      h[i * n + j] = static_cast<float>(h[i * n + j] / weight);
      h[j * n + i] = h[i * n + j];
      finite = finite && std::isfinite(h[i * n + j]);
    }
  }
  if (!finite) {
    throw Error(ErrorCode::bad_input,
                fmt::format("{}: the calibration activations are not finite; does the model itself "
                            "answer sensibly?",
                            where));
  }
  LinearWeight transposed;  // cross_ is Cᵀ: a linear layer with it multiplies by C
  transposed.out_features = n;
  transposed.in_features = n;
  transposed.weight = std::move(cross_);
  prepared_cross_ = cx.backend.prepare(transposed);
}

Tensor PairStatistics::times_cross(Context& cx, const Tensor& weight) const {
  const Arena::Scope scope(cx.scratch);
  const Tensor on_device = cx.scratch.tensor(weight.shape());
  const Tensor product = cx.scratch.tensor(weight.shape());
  cx.backend.copy(weight, on_device);
  ops::linear(cx, on_device, prepared_cross_, product);
  return copy_to_host(cx, product);
}

}  // namespace squint::quantize
