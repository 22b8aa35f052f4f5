#include "quantize/pair_statistics.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "ops/copies.h"
#include "quantize/moments.h"
#include "squint/error.h"

namespace squint::quantize {
namespace {

// Into the columns of `to` from `first` on.
void put_columns(Context& cx, const Tensor& columns, int64_t first, const Tensor& to) {
  const int64_t count = columns.dim(1);
  if (count == to.dim(1)) return cx.backend.copy(columns, to);
  cx.backend.host_threads().parallel_for(columns.dim(0), 16, [&](int64_t begin, int64_t end, int) {
    for (int64_t row = begin; row < end; ++row) {
      std::copy_n(columns.span<const float>().data() + row * count, count,
                  to.span<float>().data() + row * to.dim(1) + first);
    }
  });
}

}  // namespace

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
  Tensor factors;
  if (!smooth.empty()) factors = Tensor::copy_of<float>(smooth, {std::ssize(smooth)});
  const bool finite =
      ops::finish_moment(cx, moment_, weight) && ops::divide_columns(cx, cross_, weight, factors);
  if (!finite) {
    throw Error(ErrorCode::bad_input,
                fmt::format("{}: the calibration activations are not finite; does the model itself "
                            "answer sensibly?",
                            where));
  }
}

std::vector<Tensor> PairStatistics::times_cross(Context& cx, std::span<const Tensor> weights) {
  // cross_ is Cᵀ: a linear layer with it multiplies by C.
  const Tensor cross = std::exchange(cross_, {});
  std::vector<Tensor> out;
  for (const Tensor& weight : weights) {
    Tensor product(cx.backend.allocate(weight.bytes()), 0, DType::f32, weight.shape());
    multiply_in_parts(cx, weight, cross, [&](int64_t first, const Tensor& columns) {
      put_columns(cx, columns, first, product);
    });
    out.push_back(std::move(product));
  }
  return out;
}

}  // namespace squint::quantize
