// quantization_error must agree with the reference bit for bit: the search of scales compares sums
// of it, and a choice must not depend on the machine.
#include <gtest/gtest.h>

#include <array>
#include <bit>
#include <cmath>
#include <utility>

#include "conformance/guarded_tensor.h"
#include "conformance/on_every_backend.h"
#include "conformance/quantization_cases.h"
#include "conformance/random_values.h"

namespace squint::test {
namespace {

// The same bits; where a smoothed weight or its scale left bf16's range, any infinity or NaN.
::testing::AssertionResult agree(const Tensor& found, const Tensor& expected) {
  const std::span<const float> a = found.span<const float>();
  const std::span<const float> b = expected.span<const float>();
  for (size_t i = 0; i < a.size(); ++i) {
    if (std::isfinite(b[i]) ? std::bit_cast<uint32_t>(a[i]) == std::bit_cast<uint32_t>(b[i])
                            : !std::isfinite(a[i])) {
      continue;
    }
    return ::testing::AssertionFailure() << "element " << i << " is " << a[i] << ", not " << b[i];
  }
  return ::testing::AssertionSuccess();
}

class QuantizationError : public OnEveryBackend {
 protected:
  void check(const WeightMatrix& matrix, const Tensor& smooth, const QuantizationScheme& scheme) {
    const Shape& shape = matrix.weight.shape();
    const std::string what = matrix.name + " " + shape.to_string() + ", " + describe(scheme) +
                             (smooth.empty() ? "" : ", smoothed");
    const GuardedTensor weight(matrix.weight.span<const bf16>(), shape);
    const Tensor expected = Tensor::on_host(DType::f32, shape);
    reference().quantization_error(matrix.weight, smooth, scheme, expected);
    const GuardedTensor out(DType::f32, shape);
    backend().quantization_error(*weight, smooth, scheme, *out);
    ASSERT_TRUE(agree(*out, expected)) << what;
    ASSERT_TRUE(out.guards_hold()) << what;
  }

  void check_all(int64_t rows, int64_t cols, int64_t group_size) {
    std::vector<float> factors = random_values(cols, 80);
    for (float& s : factors) s = std::exp(s);
    const GuardedTensor smooth(factors, {cols});
    for (const WeightMatrix& matrix : hard_matrices(rows, cols, 81)) {
      for (const QuantizationScheme& scheme : schemes_with(group_size)) {
        check(matrix, {}, scheme);
        check(matrix, *smooth, scheme);
        if (HasFatalFailure()) return;
      }
    }
  }
};
INSTANTIATE_TEST_SUITE_P(Kernels, QuantizationError, ::testing::ValuesIn(backends_here()),
                         backend_name);

TEST_P(QuantizationError, Groups32) { check_all(5, 96, 32); }
TEST_P(QuantizationError, Groups64) { check_all(3, 128, 64); }
TEST_P(QuantizationError, Groups128) { check_all(7, 384, 128); }
TEST_P(QuantizationError, OneGroupPerRow) {
  for (const int64_t cols : {1, 8, 17, 100, 257}) check_all(3, cols, 0);
}
TEST_P(QuantizationError, GroupsOfPartsOfAVector) {
  check_all(3, 40, 8);
  check_all(3, 72, 24);
}
// More rows than one worker takes.
TEST_P(QuantizationError, ManyRows) { check_all(130, 256, 128); }

// With every factor 1 the error is the same as without factors.
TEST_P(QuantizationError, FactorsOfOneChangeNothing) {
  const Tensor weight = Tensor::copy_of<bf16>(random_bf16(4 * 64, 82), {4, 64});
  const GuardedTensor ones(std::vector<float>(64, 1.0f), {64});
  for (const QuantizationScheme& scheme : schemes_with(32)) {
    const GuardedTensor with(DType::f32, {4, 64});
    const GuardedTensor without(DType::f32, {4, 64});
    backend().quantization_error(weight, *ones, scheme, *with);
    backend().quantization_error(weight, {}, scheme, *without);
    EXPECT_TRUE(same_bits(*with, *without)) << describe(scheme);
  }
}

TEST_P(QuantizationError, OfWhatIntegersStandFor) {
  for (const auto& [rows, cols, group_size] : {std::array<int64_t, 3>{3, 64, 32}, {17, 96, 0}}) {
    const QuantizationScheme scheme{.bits = 4, .group_size = group_size, .symmetric = false};
    const Tensor weight = Tensor::copy_of<bf16>(random_bf16(rows * cols, 83), {rows, cols});
    const QuantizedWeight q = QuantizedWeight::on_host(rows, cols, scheme);
    reference().quantize_weight(weight, scheme, Observer::minmax, q);
    const Tensor columns = Tensor::copy_of<float>(random_values(cols, 84), {cols});
    const Tensor factors = Tensor::copy_of<float>(random_values(rows, 85), {rows});
    for (const auto& [c, r] : {std::pair<Tensor, Tensor>{}, {columns, {}}, {columns, factors}}) {
      const GuardedTensor expected(DType::f32, {rows, cols});
      const GuardedTensor found(DType::f32, {rows, cols});
      reference().restored_error(q, c, r, weight, *expected);
      backend().restored_error(q, c, r, weight, *found);
      EXPECT_TRUE(near(*found, *expected, kRestoredTolerance)) << rows << " by " << cols;
      EXPECT_TRUE(found.guards_hold());
    }
  }
}

}  // namespace
}  // namespace squint::test
