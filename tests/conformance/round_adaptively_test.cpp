// Rounding that looks at the whole row. Sums run in another order than the reference's, so a weight
// half-way between two integers may fall to either side and take others with it: what must agree is
// the error of the outputs.
#include <gtest/gtest.h>

#include <cmath>

#include "conformance/guarded_tensor.h"
#include "conformance/on_every_backend.h"
#include "conformance/quantization_cases.h"
#include "conformance/random_values.h"
#include "quantize/gptq.h"

namespace squint::test {
namespace {

AdaptiveRounding rounding_for(const Tensor& hessian, int rounds) {
  const BackendPtr backend = open_named("reference", 1);
  Arena scratch(*backend);
  Context cx{.backend = *backend, .scratch = scratch};
  return quantize::adaptive_rounding(cx, copy_of(hessian), {0.01}, rounds, [] {});
}

// E[x xᵀ] of inputs that have few directions and a few loud channels, as activations do.
Tensor correlated_moments(int64_t n, uint64_t seed) {
  const int64_t directions = std::max<int64_t>(1, n / 4);
  const std::vector<float> mix = random_values(directions * n, seed);
  Tensor h = Tensor::on_host(DType::f32, {n, n});
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      double sum = i == j ? 0.1 : 0;
      for (int64_t d = 0; d < directions; ++d) {
        const double loud = (i % 7 == 0 ? 3.0 : 1.0) * (j % 7 == 0 ? 3.0 : 1.0);
        sum += loud * mix[static_cast<size_t>(d * n + i)] * mix[static_cast<size_t>(d * n + j)];
      }
      h.span<float>()[static_cast<size_t>(i * n + j)] = static_cast<float>(sum);
    }
  }
  return h;
}

struct Guarded {
  GuardedTensor codes;
  GuardedTensor scales;
  GuardedTensor zeros;
  QuantizedWeight weight;

  Guarded(const Shape& shape, const QuantizationScheme& scheme)
      : codes(DType::i8, shape),
        scales(DType::bf16, {shape[0], scheme.groups(shape[1])}),
        zeros(DType::i8, {shape[0], scheme.groups(shape[1])}),
        weight{*codes, *scales, *zeros} {}
  bool guards_hold() const {
    return codes.guards_hold() && scales.guards_hold() && zeros.guards_hold();
  }
};

// tr(E H Eᵀ) of each row.
std::vector<double> row_errors(const Tensor& weight, const Tensor& h, const QuantizedWeight& q,
                               const QuantizationScheme& scheme) {
  const int64_t in = weight.dim(1);
  const int64_t columns = scheme.group_columns(in);
  std::vector<double> errors;
  for (int64_t row = 0; row < weight.dim(0); ++row) {
    std::vector<double> e(static_cast<size_t>(in));
    for (int64_t i = 0; i < in; ++i) {
      const int64_t at = row * in + i;
      const int64_t group = row * (in / columns) + i / columns;
      const int code = q.codes.span<int8_t>()[at] - q.zero_points.span<int8_t>()[group];
      e[i] = weight.span<const float>()[at] - code * to_float(q.scales.span<bf16>()[group]);
    }
    double total = 0;
    for (int64_t i = 0; i < in; ++i) {
      for (int64_t j = 0; j < in; ++j) total += e[i] * e[j] * h.span<const float>()[i * in + j];
    }
    errors.push_back(total);
  }
  return errors;
}

double sum(const std::vector<double>& values) {
  double total = 0;
  for (const double v : values) total += v;
  return total;
}

class RoundAdaptively : public OnEveryBackend {
 protected:
  double error_of(const Tensor& weight, const Tensor& h, const AdaptiveRounding& how,
                  const QuantizationScheme& scheme) {
    const GuardedTensor guarded(weight.span<const float>(), weight.shape());
    const Guarded out(weight.shape(), scheme);
    backend().round_adaptively(*guarded, how, scheme, out.weight);
    EXPECT_TRUE(out.guards_hold());
    for (const int8_t code : out.weight.codes.span<int8_t>()) {
      EXPECT_GE(code, scheme.lowest());
      EXPECT_LE(code, scheme.highest());
    }
    return sum(row_errors(weight, h, out.weight, scheme));
  }

  void check(int64_t rows, int64_t in, int64_t group_size) {
    const Tensor weight = Tensor::copy_of<float>(random_values(rows * in, 90), {rows, in});
    const Tensor h = correlated_moments(in, 91);
    for (const QuantizationScheme& scheme : schemes_with(group_size)) {
      for (const int rounds : {0, 2}) {
        const AdaptiveRounding how = rounding_for(h, rounds);
        const QuantizedWeight expected = QuantizedWeight::on_host(rows, in, scheme);
        reference().round_adaptively(weight, how, scheme, expected);
        const double wanted = sum(row_errors(weight, h, expected, scheme));
        EXPECT_NEAR(error_of(weight, h, how, scheme), wanted, 0.05 * wanted)
            << rows << " x " << in << ", " << describe(scheme) << ", " << rounds << " rounds";
      }
    }
  }
};
INSTANTIATE_TEST_SUITE_P(Kernels, RoundAdaptively, ::testing::ValuesIn(backends_here()),
                         backend_name);

TEST_P(RoundAdaptively, Groups32) { check(20, 96, 32); }
TEST_P(RoundAdaptively, Groups128) { check(17, 128, 128); }
TEST_P(RoundAdaptively, OneGroupPerRow) { check(33, 57, 0); }
TEST_P(RoundAdaptively, FewRows) { check(1, 24, 8); }

// Each step takes some of the error away: nearest, feedback, descent.
TEST_P(RoundAdaptively, EachStepHelps) {
  const QuantizationScheme scheme{.bits = 4, .group_size = 32, .symmetric = true};
  const Tensor weight = Tensor::copy_of<float>(random_values(32 * 128, 92), {32, 128});
  const Tensor h = correlated_moments(128, 93);
  AdaptiveRounding alone;
  alone.importance = rounding_for(h, 0).importance;
  const double nearest = error_of(weight, h, alone, scheme);
  const double fed = error_of(weight, h, rounding_for(h, 0), scheme);
  const double descended = error_of(weight, h, rounding_for(h, 2), scheme);
  EXPECT_LT(fed, nearest);
  EXPECT_LT(descended, fed);
}

// -8 reaches further than 7: with a scale of either sign it can do so where the weights do.
TEST_P(RoundAdaptively, ScalesOfEitherSignComeCloser) {
  const Tensor weight = Tensor::copy_of<float>(random_values(64 * 128, 92), {64, 128});
  AdaptiveRounding how;
  how.importance = Tensor::copy_of<float>(std::vector<float>(128, 1.0f), {128});
  const Tensor h = correlated_moments(128, 93);
  const double positive = error_of(weight, h, how, {.group_size = 32});
  EXPECT_LT(error_of(weight, h, how, {.group_size = 32, .signed_scales = true}), 0.95 * positive);
}

// Sixteen rows go abreast; none may notice.
TEST_P(RoundAdaptively, ARowDoesNotDependOnItsNeighbours) {
  const QuantizationScheme scheme{.bits = 4, .group_size = 32, .symmetric = false};
  const Tensor weight = Tensor::copy_of<float>(random_values(19 * 64, 94), {19, 64});
  const AdaptiveRounding how = rounding_for(correlated_moments(64, 95), 2);
  const Guarded all({19, 64}, scheme);
  backend().round_adaptively(weight, how, scheme, all.weight);
  for (const int64_t row : {0, 7, 18}) {
    const Tensor one = Tensor::copy_of<float>(
        weight.span<const float>().subspan(static_cast<size_t>(row * 64), 64), {1, 64});
    const Guarded alone({1, 64}, scheme);
    backend().round_adaptively(one, how, scheme, alone.weight);
    EXPECT_TRUE(same_bits(alone.weight.codes, all.weight.codes.rows(row, 1))) << "row " << row;
    EXPECT_TRUE(same_bits(alone.weight.scales, all.weight.scales.rows(row, 1))) << "row " << row;
  }
}

TEST_P(RoundAdaptively, ZerosStayZero) {
  const Tensor weight = Tensor::copy_of<float>(std::vector<float>(2 * 64, 0.0f), {2, 64});
  for (const QuantizationScheme& scheme : schemes_with(32)) {
    const Tensor h = correlated_moments(64, 96);
    EXPECT_EQ(error_of(weight, h, rounding_for(h, 2), scheme), 0.0) << describe(scheme);
  }
}

}  // namespace
}  // namespace squint::test
