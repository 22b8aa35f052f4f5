// Values worked out by hand, so that the reference backend is held to more than itself.
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "conformance/guarded_tensor.h"
#include "conformance/on_every_backend.h"
#include "core/packed_int.h"
#include "squint/error.h"

namespace squint::test {
namespace {

constexpr Tolerance kDecimals{.abs = 1e-6f, .rel = 1e-6f};

class KnownValues : public OnEveryBackend {
 protected:
  static Tensor tensor(const std::vector<float>& values, const Shape& shape) {
    return Tensor::copy_of<float>(values, shape);
  }
};
INSTANTIATE_TEST_SUITE_P(Kernels, KnownValues, ::testing::ValuesIn(backends_here()), backend_name);

TEST_P(KnownValues, Linear) {
  const LinearWeight weight = backend().prepare({.out_features = 2,
                                                 .in_features = 3,
                                                 .weight = tensor({1, 2, 3, -1, 0, 4}, {2, 3}),
                                                 .bias = tensor({10, 20}, {2})});
  const Tensor out = tensor({0, 0, 0, 0}, {2, 2});
  backend().linear(tensor({1, 1, 1, 2, -1, 0.5f}, {2, 3}), weight, out);
  EXPECT_TRUE(same_bits(out, tensor({16, 23, 11.5f, 20}, {2, 2})));
}

// Code u - 8 - zero, times the scale: row 0 is 0.5 * {-8-1, 7-1, 0-1, 1-1}.
TEST_P(KnownValues, IntegerLinear) {
  const QuantizationScheme scheme{.bits = 4, .group_size = 4, .symmetric = false};
  const QuantizedWeight q{
      .codes = Tensor::copy_of<int8_t>(std::vector<int8_t>{-8, 7, 0, 1, 2, 2, 2, -2}, {2, 4}),
      .scales = Tensor::copy_of<bf16>(std::vector<bf16>{to_bf16(0.5f), to_bf16(0.25f)}, {2, 1}),
      .zero_points = Tensor::copy_of<int8_t>(std::vector<int8_t>{1, -2}, {2, 1})};
  const LinearWeight weight = backend().prepare(
      {.out_features = 2, .in_features = 4, .weight = pack_linear(q, scheme), .bias = {}});
  const Tensor out = tensor({0, 0}, {1, 2});
  backend().linear(tensor({1, 2, 4, 8}, {1, 4}), weight, out);
  const Tensor expected = tensor({-4.5f + 6 - 2, 1 + 2 + 4}, {1, 2});
  if (in_bytes()) {
    EXPECT_TRUE(near(out, expected, kByteLinearTolerance));
  } else {
    EXPECT_TRUE(same_bits(out, expected));
  }
}

TEST_P(KnownValues, Norms) {
  const Tensor out = tensor({0, 0}, {1, 2});
  backend().rms_norm(tensor({3, 4}, {1, 2}), tensor({1, 2}, {2}), 0, out);
  EXPECT_TRUE(near(out, tensor({0.84852814f, 2.26274170f}, {1, 2}), kDecimals));
  backend().layer_norm(tensor({1, 5}, {1, 2}), tensor({1, 2}, {2}), tensor({10, 20}, {2}), 0, out);
  EXPECT_TRUE(near(out, tensor({9, 22}, {1, 2}), kDecimals));
  backend().layer_norm(tensor({1, 5}, {1, 2}), tensor({1, 2}, {2}), tensor({10, 20}, {2}), 12, out);
  EXPECT_TRUE(near(out, tensor({9.5f, 21}, {1, 2}), kDecimals));
}

// A quarter turn of the first pair (0, 2), none of the second (1, 3).
TEST_P(KnownValues, Rotate) {
  const Tensor x = tensor({1, 2, 3, 4}, {1, 1, 4});
  backend().rotate(tensor({0, 1}, {1, 2}), tensor({1, 0}, {1, 2}), x);
  EXPECT_TRUE(same_bits(x, tensor({-3, 2, 1, 4}, {1, 1, 4})));
}

// Scores 0 and ln 3 weigh the values 1/4 and 3/4; the first token sees only the first.
TEST_P(KnownValues, Attention) {
  KvLayer kv = backend().make_kv(backend().allocate(backend().kv_bytes(1, 2, 2)), 1, 2, 2);
  backend().append_kv(tensor({0, 0, 2, 0}, {2, 1, 2}), tensor({4, 8, 8, -8}, {2, 1, 2}), kv);
  const float scale = std::log(3.0f) / 2;
  const Tensor out = tensor({0, 0, 0, 0}, {2, 2});
  const Tensor query = tensor({1, 5, 1, 5}, {2, 1, 2});
  backend().attention(
      {.query = query, .kv = &kv, .first_position = 0, .causal = true, .scale = scale}, out);
  EXPECT_TRUE(near(out, tensor({4, 8, 7, -4}, {2, 2}), kDecimals));
  backend().attention(
      {.query = query, .kv = &kv, .first_position = 0, .causal = false, .scale = scale}, out);
  EXPECT_TRUE(near(out, tensor({7, -4, 7, -4}, {2, 2}), kDecimals));
}

TEST_P(KnownValues, Activations) {
  const Tensor x = tensor({0, 1, -1, 3}, {4});
  const Tensor out = tensor({0, 0, 0, 0}, {4});
  backend().swiglu(x, tensor({5, 2, 2, 1}, {4}), out);
  EXPECT_TRUE(near(out, tensor({0, 1.46211716f, -0.53788284f, 2.85772238f}, {4}), kDecimals));
  backend().gelu(x, GeluKind::tanh, out);
  EXPECT_TRUE(near(out, tensor({0, 0.84119199f, -0.15880801f, 2.99636261f}, {4}), kDecimals));
  backend().gelu(x, GeluKind::erf, out);
  EXPECT_TRUE(near(out, tensor({0, 0.84134475f, -0.15865525f, 2.99595031f}, {4}), kDecimals));
}

TEST_P(KnownValues, Sums) {
  const Tensor x = tensor({1, -2, 3, 4}, {2, 2});
  const Tensor moment = tensor({100, 100, 0, 100}, {2, 2});
  backend().add_second_moment(x, moment);
  EXPECT_EQ(moment.span<float>()[0], 110);
  EXPECT_EQ(moment.span<float>()[1], 110);
  EXPECT_EQ(moment.span<float>()[3], 120);
  const Tensor sums = tensor({10, 20}, {2});
  backend().add_abs_sum(x, sums);
  EXPECT_TRUE(same_bits(sums, tensor({14, 26}, {2})));
  EXPECT_EQ(backend().dot(x, tensor({1, 2, 3, 4}, {2, 2}), 0), 1 - 4 + 9 + 16);
}

TEST_P(KnownValues, CopyMovesBytes) {
  const Tensor to = tensor({0, 0, 0}, {3});
  backend().copy(tensor({1, 2, 3}, {3}), to);
  backend().synchronize();
  EXPECT_TRUE(same_bits(to, tensor({1, 2, 3}, {3})));
  EXPECT_THROW(backend().copy(tensor({1, 2}, {2}), to), InternalError);
}

TEST_P(KnownValues, MemoryIsAlignedAndOfTheBackend) {
  for (const int64_t bytes : {int64_t{0}, int64_t{1}, int64_t{4096}}) {
    const auto storage = backend().allocate(bytes);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(storage->data()) % 64, 0u);
    EXPECT_GE(storage->bytes(), bytes);
    EXPECT_EQ(storage->device(), backend().device());
  }
}

}  // namespace
}  // namespace squint::test
