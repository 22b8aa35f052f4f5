#include "conformance/linear_weights.h"

#include <cmath>
#include <span>

#include "conformance/random_values.h"
#include "core/packed_int.h"

namespace squint::test {
namespace {

float scale_for(const WeightSize& size) { return 1.0f / std::sqrt(static_cast<float>(size.in)); }

LinearWeight around(const WeightSize& size, decltype(LinearWeight::weight) weight) {
  LinearWeight made{
      .out_features = size.out, .in_features = size.in, .weight = std::move(weight), .bias = {}};
  if (size.bias) {
    const std::vector<float> bias = random_values(size.out, size.seed + 1);
    made.bias = Tensor::copy_of<float>(bias, {size.out});
  }
  return made;
}

}  // namespace

LinearWeight dense_f32(const WeightSize& size) {
  const std::vector<float> w = random_values(size.out * size.in, size.seed, scale_for(size));
  return around(size, Tensor::copy_of<float>(w, {size.out, size.in}));
}

LinearWeight dense_bf16(const WeightSize& size) {
  const std::vector<bf16> w = random_bf16(size.out * size.in, size.seed, scale_for(size));
  return around(size, Tensor::copy_of<bf16>(w, {size.out, size.in}));
}

LinearWeight packed(const WeightSize& size, const QuantizationScheme& scheme) {
  Random random(size.seed);
  const auto levels = static_cast<uint64_t>(scheme.highest() - scheme.lowest() + 1);
  const auto code = [&] {
    return static_cast<int8_t>(static_cast<int>(random.below(levels)) + scheme.lowest());
  };
  const QuantizedWeight w = QuantizedWeight::on_host(size.out, size.in, scheme);
  for (int8_t& c : w.codes.span<int8_t>()) c = code();
  for (int8_t& z : w.zero_points.span<int8_t>()) z = scheme.symmetric ? int8_t{0} : code();
  const float step = scale_for(size) / static_cast<float>(scheme.highest());
  for (bf16& s : w.scales.span<bf16>()) {
    s = to_bf16(step * static_cast<float>(0.5 + random.uniform()));
  }
  return around(size, pack_linear(w, scheme));
}

}  // namespace squint::test
