#include "conformance/quantization_cases.h"

#include <cmath>
#include <functional>

#include "conformance/random_values.h"

namespace squint::test {
namespace {

WeightMatrix fill(const std::string& name, const Shape& shape,
                  const std::function<float(int64_t)>& value) {
  WeightMatrix made{.name = name, .weight = Tensor::on_host(DType::bf16, shape)};
  int64_t i = 0;
  for (bf16& w : made.weight.span<bf16>()) w = to_bf16(value(i++));
  return made;
}

}  // namespace

std::vector<WeightMatrix> hard_matrices(int64_t rows, int64_t cols, uint64_t seed) {
  Random random(seed);
  const Shape shape{rows, cols};
  const auto make = [&](const std::string& name, const std::function<float(int64_t)>& value) {
    return fill(name, shape, value);
  };
  const auto sign = [](int64_t i) { return i % 2 == 0 ? 1.0f : -1.0f; };
  return {
      make("random", [&](int64_t) { return bell(random) * 0.02f; }),
      make("zero", [](int64_t) { return 0.0f; }),
      make("minus zero", [](int64_t) { return -0.0f; }),
      make("constant", [](int64_t) { return 0.37f; }),
      make("negative constant", [](int64_t) { return -0.37f; }),
      make("all positive", [&](int64_t) { return 0.5f + 0.1f * bell(random); }),
      make("all negative", [&](int64_t) { return -0.5f + 0.1f * bell(random); }),
      make("zero halves", [&](int64_t i) { return i / 16 % 2 == 0 ? 0.0f : bell(random); }),
      make("ties", [](int64_t i) { return static_cast<float>(i % 31 - 15) / 32.0f; }),
      make("outlier", [&](int64_t i) { return i % 37 == 5 ? 40.0f : bell(random) * 0.01f; }),
      make("large", [&](int64_t) { return bell(random) * 1e18f; }),
      make("largest", [&](int64_t i) { return sign(i) * 3.3e38f; }),
      make("small", [&](int64_t) { return bell(random) * 1e-18f; }),
      // Their scales are below bf16's normal numbers, or vanish.
      make("subnormal", [&](int64_t) { return bell(random) * 1e-38f; }),
      make("smallest", [&](int64_t i) { return sign(i) * 9.2e-41f; }),
      make("smallest negative", [](int64_t i) { return i % 3 == 0 ? -9.2e-41f : 0.0f; }),
      make("every magnitude",
           [&](int64_t i) {
             return sign(i) *
                    std::pow(10.0f, static_cast<float>(static_cast<int>(random.below(60)) - 30));
           }),
  };
}

std::vector<QuantizationScheme> schemes_with(int64_t group_size) {
  std::vector<QuantizationScheme> schemes;
  for (const int bits : {4, 8}) {
    for (const auto& [symmetric, signed_scales] :
         {std::pair{true, false}, {true, true}, {false, false}}) {
      schemes.push_back({.bits = bits,
                         .group_size = group_size,
                         .symmetric = symmetric,
                         .signed_scales = signed_scales});
    }
  }
  return schemes;
}

std::string describe(const QuantizationScheme& scheme) {
  return std::to_string(scheme.bits) + " bits, groups of " + std::to_string(scheme.group_size) +
         (scheme.symmetric ? ", symmetric" : ", asymmetric") +
         (scheme.signed_scales ? ", signed scales" : "");
}

}  // namespace squint::test
