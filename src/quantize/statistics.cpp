#include "quantize/statistics.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "ops/copies.h"
#include "quantize/moments.h"
#include "squint/error.h"

namespace squint::quantize {

using qwen3_vl::LinearRole;

namespace {

// The role that stands for a shared input.
LinearRole input_of(LinearRole role) {
  if (role == LinearRole::k || role == LinearRole::v) return LinearRole::q;
  return role == LinearRole::up ? LinearRole::gate : role;
}

}  // namespace

InputStatistics::InputStatistics(Backend& backend, int64_t in)
    : abs_sum_(zeros_on_device(backend, {in})), moment_(zeros_on_device(backend, {in, in})) {}

void InputStatistics::add(Context& cx, const Tensor& x) {
  ops::add_abs_sum(cx, x, abs_sum_);
  ops::add_second_moment(cx, x, moment_);
  tokens_ += x.dim(0);
}

void InputStatistics::finish(Context& cx, std::string_view where) {
  SQUINT_CHECK(tokens_ > 0);
  abs_sum_ = on_host(cx, abs_sum_);
  if (!ops::finish_moment(cx, moment_, static_cast<double>(tokens_))) {
    throw Error(ErrorCode::bad_input,
                fmt::format("{}: the calibration activations are not finite; does the model itself "
                            "answer sensibly?",
                            where));
  }
  squares_.resize(static_cast<size_t>(moment_.dim(0)));
  const Tensor squares = Tensor::on_host(DType::f32, {moment_.dim(0)});
  ops::diagonal(cx, moment_, squares);
  std::ranges::copy(squares.span<float>(), squares_.begin());
}

std::vector<float> InputStatistics::abs_mean() const {
  const std::span<const float> sums = abs_sum_.span<const float>();
  std::vector<float> means(sums.size());
  std::ranges::transform(sums, means.begin(),
                         [&](float sum) { return sum / static_cast<float>(tokens_); });
  return means;
}

double InputStatistics::output_error(Context& cx, const Tensor& error) const {
  const Tensor there = on_device(cx, error);
  double total = 0;
  multiply_in_parts(cx, there, moment_, [&](int64_t first, const Tensor& product) {
    total += ops::dot(cx, there, product, first);
  });
  return total;
}

BlockObserver::BlockObserver(Context& cx, const qwen3_vl::DecoderBlock& block)
    : cx_{.backend = cx.backend, .scratch = cx.scratch}, block_(block) {
  for (const LinearRole role : qwen3_vl::kAllLinears) {
    if (input_of(role) != role) continue;
    inputs_[static_cast<size_t>(role)] =
        InputStatistics(cx.backend, block.linear(role).in_features);
  }
}

void BlockObserver::saw(const LinearWeight& weight, const Tensor& x) {
  for (const LinearRole role : qwen3_vl::kAllLinears) {
    if (&weight == &block_.linear(role) && input_of(role) == role) {
      inputs_[static_cast<size_t>(role)].add(cx_, x);
    }
  }
}

void BlockObserver::finish(int64_t layer) {
  for (const LinearRole role : qwen3_vl::kAllLinears) {
    if (input_of(role) != role) continue;
    inputs_[static_cast<size_t>(role)].finish(cx_, qwen3_vl::module_name(layer, role));
  }
}

const InputStatistics& BlockObserver::of(LinearRole role) const {
  return inputs_[static_cast<size_t>(input_of(role))];
}

}  // namespace squint::quantize
