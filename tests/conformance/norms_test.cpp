#include <gtest/gtest.h>

#include <vector>

#include "conformance/guarded_tensor.h"
#include "conformance/on_every_backend.h"
#include "conformance/random_values.h"

namespace squint::test {
namespace {

constexpr int64_t kRows[] = {1, 2, 5, 33};
constexpr int64_t kSizes[] = {1, 8, 15, 16, 17, 31, 33, 72, 128, 520, 1000};
constexpr float kEps = 1e-6f;

class Norms : public OnEveryBackend {
 protected:
  void check_rms(const std::vector<float>& values, int64_t n, uint64_t seed) {
    const Shape shape{static_cast<int64_t>(values.size()) / n, n};
    const GuardedTensor x(values, shape);
    const GuardedTensor weight(random_values(n, seed), {n});
    const Tensor expected = Tensor::on_host(DType::f32, shape);
    reference().rms_norm(*x, *weight, kEps, expected);
    const GuardedTensor out(DType::f32, shape);
    backend().rms_norm(*x, *weight, kEps, *out);
    ASSERT_TRUE(near(*out, expected, kRmsNormTolerance)) << shape.to_string() << " seed " << seed;
    ASSERT_TRUE(out.guards_hold()) << shape.to_string();
    backend().rms_norm(*x, *weight, kEps, *x);  // in place
    ASSERT_TRUE(same_bits(*x, *out)) << shape.to_string() << " seed " << seed;
    ASSERT_TRUE(x.guards_hold()) << shape.to_string();
  }

  void check_layer(const std::vector<float>& values, int64_t n, uint64_t seed) {
    const Shape shape{static_cast<int64_t>(values.size()) / n, n};
    const GuardedTensor x(values, shape);
    const GuardedTensor weight(random_values(n, seed), {n});
    const GuardedTensor bias(random_values(n, seed + 1), {n});
    const Tensor expected = Tensor::on_host(DType::f32, shape);
    reference().layer_norm(*x, *weight, *bias, kEps, expected);
    const GuardedTensor out(DType::f32, shape);
    backend().layer_norm(*x, *weight, *bias, kEps, *out);
    ASSERT_TRUE(near(*out, expected, kLayerNormTolerance)) << shape.to_string() << " seed " << seed;
    ASSERT_TRUE(out.guards_hold()) << shape.to_string();
    backend().layer_norm(*x, *weight, *bias, kEps, *x);  // in place
    ASSERT_TRUE(same_bits(*x, *out)) << shape.to_string() << " seed " << seed;
    ASSERT_TRUE(x.guards_hold()) << shape.to_string();
  }
};
INSTANTIATE_TEST_SUITE_P(Kernels, Norms, ::testing::ValuesIn(backends_here()), backend_name);

TEST_P(Norms, RmsNorm) {
  for (const int64_t rows : kRows) {
    for (const int64_t n : kSizes) check_rms(random_values(rows * n, 20), n, 21);
  }
}

TEST_P(Norms, RmsNormWhereEpsDecides) {
  check_rms(random_values(3 * 33, 22, 1e-4f), 33, 23);
  check_rms(std::vector<float>(2 * 17, 0.0f), 17, 24);
}

// Enough rows for both workers.
TEST_P(Norms, RmsNormOfManyRows) { check_rms(random_values(300 * 128, 25), 128, 26); }

TEST_P(Norms, LayerNorm) {
  for (const int64_t rows : kRows) {
    for (const int64_t n : kSizes) {
      if (n > 1) check_layer(random_values(rows * n, 27), n, 28);
    }
  }
}

TEST_P(Norms, LayerNormOfOneColumnIsItsBias) { check_layer({3.5f, -2.0f, 0.0f}, 1, 29); }

TEST_P(Norms, LayerNormFarFromZero) {
  std::vector<float> values = random_values(5 * 72, 30);
  for (float& x : values) x += 10;
  check_layer(values, 72, 31);
}

TEST_P(Norms, LayerNormOfEqualValuesIsItsBias) {
  const GuardedTensor x(std::vector<float>(2 * 33, 0.5f), {2, 33});
  const GuardedTensor weight(random_values(33, 32), {33});
  const GuardedTensor bias(random_values(33, 33), {33});
  const GuardedTensor out(DType::f32, {2, 33});
  backend().layer_norm(*x, *weight, *bias, kEps, *out);
  EXPECT_TRUE(near(out->rows(1, 1), *bias, {}));
}

TEST_P(Norms, LayerNormOfManyRows) { check_layer(random_values(300 * 128, 34), 128, 35); }

}  // namespace
}  // namespace squint::test
