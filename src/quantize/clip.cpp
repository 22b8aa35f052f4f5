#include "quantize/clip.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <vector>

#include "ops/copies.h"

namespace squint::quantize {
namespace {

constexpr int kRanges = 17;
constexpr float kWidest = 1.1f;
constexpr float kStep = 0.025f;
constexpr int64_t kRowsAtOnce = 16;

// One group of columns, of all rows.
class GroupClipper {
 public:
  GroupClipper(Context& cx, const Tensor& weight, const QuantizationScheme& scheme, int64_t first)
      : cx_(cx),
        weight_(weight),
        scheme_(scheme),
        first_(first),
        columns_(scheme.group_columns(weight.dim(1))),
        codes_(static_cast<size_t>(weight.dim(0) * columns_)),
        parameters_(static_cast<size_t>(weight.dim(0))),
        error_(Tensor::on_host(DType::f32, {weight.dim(0), columns_})),
        product_(Tensor::on_host(DType::f32, error_.shape())),
        least_(parameters_.size(), std::numeric_limits<float>::infinity()) {}

  void run(const LinearWeight& moment, const QuantizedWeight& out) {
    for (int i = 0; i < kRanges; ++i) {
      const float part = kWidest - kStep * static_cast<float>(i);
      each_row([&](int64_t row) { round(row, part); });
      multiply(moment);
      each_row([&](int64_t row) { keep_better(row, out); });
    }
  }

 private:
  void each_row(const std::function<void(int64_t)>& body) {
    cx_.backend.host_threads().parallel_for(weight_.dim(0), kRowsAtOnce,
                                            [&](int64_t begin, int64_t end, int) {
                                              for (int64_t r = begin; r < end; ++r) body(r);
                                            });
  }

  std::span<const float> weights(int64_t row) const {
    return weight_.span<const float>().subspan(static_cast<size_t>(row * weight_.dim(1) + first_),
                                               static_cast<size_t>(columns_));
  }

  std::span<float> of_row(const Tensor& tensor, int64_t row) const {
    return tensor.span<float>().subspan(static_cast<size_t>(row * columns_),
                                        static_cast<size_t>(columns_));
  }

  void round(int64_t row, float part) {
    const std::span<const float> w = weights(row);
    const auto [low, high] = std::ranges::minmax(w);
    const GroupParameters p =
        group_parameters(std::min(low, 0.0f) * part, std::max(high, 0.0f) * part, scheme_);
    parameters_[static_cast<size_t>(row)] = p;
    const std::span<float> error = of_row(error_, row);
    int8_t* codes = codes_.data() + row * columns_;
    const auto lowest = static_cast<float>(scheme_.lowest());
    const auto highest = static_cast<float>(scheme_.highest());
    for (size_t i = 0; i < w.size(); ++i) {
      const float code = std::rint(std::clamp(w[i] / p.scale + p.zero, lowest, highest));
      codes[i] = static_cast<int8_t>(code);
      error[i] = (code - p.zero) * p.scale - w[i];
    }
  }

  void multiply(const LinearWeight& moment) {
    const Arena::Scope scope(cx_.scratch);
    const Tensor product = cx_.scratch.tensor(error_.shape());
    ops::linear(cx_, on_device(cx_, error_), moment, product);
    cx_.backend.copy(product, product_);
    cx_.backend.synchronize();
  }

  void keep_better(int64_t row, const QuantizedWeight& out) {
    const std::span<const float> error = of_row(error_, row);
    const std::span<const float> product = of_row(product_, row);
    float loss = 0;
    for (size_t i = 0; i < error.size(); ++i) loss += error[i] * product[i];
    const auto r = static_cast<size_t>(row);
    if (!(loss < least_[r])) return;
    least_[r] = loss;
    const int64_t in = weight_.dim(1);
    const auto group = static_cast<size_t>(row * (in / columns_) + first_ / columns_);
    out.scales.span<bf16>()[group] = to_bf16(parameters_[r].scale);
    out.zero_points.span<int8_t>()[group] = static_cast<int8_t>(parameters_[r].zero);
    std::copy_n(codes_.data() + row * columns_, columns_,
                out.codes.span<int8_t>().data() + row * in + first_);
  }

  Context& cx_;
  const Tensor& weight_;
  const QuantizationScheme& scheme_;
  int64_t first_;
  int64_t columns_;
  std::vector<int8_t> codes_;
  std::vector<GroupParameters> parameters_;  // of each row
  Tensor error_;
  Tensor product_;
  std::vector<float> least_;
};

LinearWeight group_moment(Context& cx, const Tensor& moment, std::span<const float> factors,
                          int64_t first, int64_t columns) {
  LinearWeight part{.out_features = columns, .in_features = columns};
  const Tensor h = Tensor::on_host(DType::f32, {columns, columns});
  const std::span<const float> all = moment.span<const float>();
  const std::span<float> to = h.span<float>();
  for (int64_t i = 0; i < columns; ++i) {
    for (int64_t j = 0; j < columns; ++j) {
      float value = all[(first + i) * moment.dim(1) + first + j];
      if (!factors.empty()) value /= factors[first + i] * factors[first + j];
      to[i * columns + j] = value;
    }
  }
  part.weight = h;
  return cx.backend.prepare(part);
}

}  // namespace

void round_clipped(Context& cx, const Tensor& weight, const InputStatistics& input,
                   std::span<const float> columns, const QuantizationScheme& scheme,
                   const QuantizedWeight& out) {
  // What stays where no range has a finite loss.
  ops::quantize_weight(cx, round_to_bf16(weight), scheme, Observer::minmax, out);
  const int64_t group = scheme.group_columns(weight.dim(1));
  const Tensor all = on_host(cx, input.moment());
  for (int64_t first = 0; first < weight.dim(1); first += group) {
    const LinearWeight moment = group_moment(cx, all, columns, first, group);
    GroupClipper(cx, weight, scheme, first).run(moment, out);
  }
}

}  // namespace squint::quantize
