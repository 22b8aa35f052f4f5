// The same bits on AVX2 and AVX-512, on any number of threads, alone and in a batch. The scalar
// table rounds multiply-adds twice: it agrees with itself, not with the others.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "conformance/guarded_tensor.h"
#include "conformance/linear_weights.h"
#include "conformance/on_every_backend.h"
#include "conformance/random_values.h"

namespace squint::test {
namespace {

using Results = std::map<std::string, Tensor>;

constexpr QuantizationScheme kInt4{.bits = 4, .group_size = 32, .symmetric = false};
constexpr QuantizationScheme kInt8{.bits = 8, .group_size = 0, .symmetric = true};

Tensor random_tensor(const Shape& shape, uint64_t seed) {
  return Tensor::copy_of<float>(random_values(shape.numel(), seed), shape);
}

std::map<std::string, LinearWeight> weights() {
  LinearWeight rounded = dense_bf16({.in = 200, .out = 97, .seed = 89});
  rounded.eight_bits_do = true;
  return {{"eight bits", rounded},
          {"f32", dense_f32({.in = 520, .out = 200, .bias = true, .seed = 90})},
          {"bf16", dense_bf16({.in = 257, .out = 97, .seed = 91})},
          {"int4", packed({.in = 288, .out = 129, .bias = true, .seed = 92}, kInt4)},
          {"int8", packed({.in = 300, .out = 80, .seed = 93}, kInt8)}};
}

Tensor multiply(Backend& backend, const LinearWeight& ready, const Tensor& x) {
  const Tensor out = Tensor::on_host(DType::f32, {x.dim(0), ready.out_features});
  backend.linear(x, ready, out);
  return out;
}

void run_linear(Backend& backend, Results& results) {
  for (const auto& [name, weight] : weights()) {
    const LinearWeight ready = backend.prepare(weight);
    for (const int64_t rows : {1, 15, 300}) {
      results["linear " + name + " " + std::to_string(rows)] =
          multiply(backend, ready, random_tensor({rows, weight.in_features}, 94));
    }
  }
}

// 70 tokens over 100 keys, 6 query heads on 2 key/value heads of 72.
struct AttentionRun {
  explicit AttentionRun(Backend& backend) : backend_(backend) {
    kv_ = backend.make_kv(backend.allocate(backend.kv_bytes(2, 72, 100)), 2, 72, 100);
    backend.append_kv(random_tensor({100, 2, 72}, 95), random_tensor({100, 2, 72}, 96), kv_);
  }

  Tensor operator()(int64_t first, int64_t count, bool causal) const {
    const Tensor out = Tensor::on_host(DType::f32, {count, 6 * 72});
    backend_.attention({.query = query_.rows(first, count),
                        .kv = &kv_,
                        .first_position = 30 + first,
                        .causal = causal,
                        .scale = 1 / std::sqrt(72.0f)},
                       out);
    return out;
  }

 private:
  Backend& backend_;
  KvLayer kv_;
  Tensor query_ = random_tensor({70, 6, 72}, 97);
};

void run_rows(Backend& backend, Results& results) {
  const Shape shape{200, 333};
  const Tensor x = random_tensor(shape, 98);
  const Tensor weight = random_tensor({333}, 99);
  const auto result = [&](const std::string& name) {
    return results[name] = Tensor::on_host(DType::f32, shape);
  };
  backend.rms_norm(x, weight, 1e-6f, result("rms_norm"));
  backend.layer_norm(x, weight, random_tensor({333}, 100), 1e-6f, result("layer_norm"));
  backend.swiglu(x, random_tensor(shape, 101), result("swiglu"));
  backend.gelu(x, GeluKind::tanh, result("gelu tanh"));
  backend.gelu(x, GeluKind::erf, result("gelu erf"));
  backend.add(x, results["add"] = random_tensor(shape, 102));
  const Tensor rotated = results["rotate"] = random_tensor({200, 6, 72}, 103);
  backend.rotate(random_tensor({200, 36}, 104), random_tensor({200, 36}, 105), rotated);
}

void run_sums(Backend& backend, Results& results) {
  const Tensor x = random_tensor({200, 130}, 106);
  const Tensor moment = results["second moment"] = random_tensor({130, 130}, 107);
  backend.add_second_moment(x, moment);
  // Below the diagonal lies nothing.
  for (int64_t i = 0; i < 130 * 130; ++i) {
    if (i % 130 < i / 130) moment.span<float>()[static_cast<size_t>(i)] = 0;
  }
  backend.add_abs_sum(x, results["abs sum"] = random_tensor({130}, 108));
  const double total = backend.dot(x, random_tensor({200, 130}, 109), 0);
  const auto bits = std::bit_cast<int64_t>(total);
  results["dot"] = Tensor::copy_of<int64_t>(std::span(&bits, 1), {1});
}

void run_quantize(Backend& backend, Results& results) {
  const Tensor weight = Tensor::copy_of<bf16>(random_bf16(65 * 288, 110), {65, 288});
  for (const QuantizationScheme& scheme : {kInt4, kInt8}) {
    const std::string name = "quantize " + std::to_string(scheme.bits);
    const QuantizedWeight q = QuantizedWeight::on_host(65, 288, scheme);
    backend.quantize_weight(weight, scheme, Observer::mse, q);
    results[name + " codes"] = q.codes;
    results[name + " scales"] = q.scales;
    results[name + " zero points"] = q.zero_points;
    backend.quantization_error(weight, {}, scheme,
                               results[name + " error"] = Tensor::on_host(DType::f32, {65, 288}));
  }
}

Results run_everything(const std::string& kernels, int threads) {
  const BackendPtr backend = open_named(kernels, threads);
  Results results;
  run_linear(*backend, results);
  const AttentionRun attention(*backend);
  results["attention causal"] = attention(0, 70, true);
  results["attention full"] = attention(0, 70, false);
  run_rows(*backend, results);
  run_sums(*backend, results);
  run_quantize(*backend, results);
  backend->synchronize();
  return results;
}

void expect_same(const Results& found, const Results& expected) {
  ASSERT_EQ(found.size(), expected.size());
  for (const auto& [name, tensor] : expected)
    EXPECT_TRUE(same_bits(found.at(name), tensor)) << name;
}

bool runnable(const std::string& kernels) {
  const std::vector<std::string> all = backends_here();
  return std::ranges::find(all, kernels) != all.end();
}

TEST(Determinism, Avx2AndAvx512AgreeBitForBit) {
  if (!runnable("avx2") || !runnable("avx512")) GTEST_SKIP() << "skipped: needs AVX-512";
  expect_same(run_everything("avx512", 2), run_everything("avx2", 2));
}

TEST(Determinism, FastTablesAgreeBitForBit) {
  if (!runnable("fast-avx2")) GTEST_SKIP() << "skipped: needs AVX2";
  const Results expected = run_everything("fast-avx2", 2);
  for (const char* other : {"fast-avxvnni", "fast-avx512"}) {
    SCOPED_TRACE(other);
    if (runnable(other)) expect_same(run_everything(other, 2), expected);
  }
}

class Determinism : public OnEveryBackend {};
INSTANTIATE_TEST_SUITE_P(Kernels, Determinism, ::testing::ValuesIn(backends_here()), backend_name);

TEST_P(Determinism, ThreadsDoNotChangeBits) {
  const Results one = run_everything(GetParam(), 1);
  for (const int threads : {2, 5}) {
    SCOPED_TRACE(threads);
    expect_same(run_everything(GetParam(), threads), one);
  }
}

// One row and many take different kernels there, which add in different orders: the same call
// gives the same bits, no more (docs/numerics.md).
constexpr const char* kBatchMatters = "skipped: bits depend on the size of the batch on a card";

TEST_P(Determinism, LinearRowsDoNotDependOnTheBatch) {
  if (on_a_card()) GTEST_SKIP() << kBatchMatters;
  for (const auto& [name, weight] : weights()) {
    const LinearWeight ready = backend().prepare(weight);
    const Tensor x = random_tensor({300, weight.in_features}, 111);
    const Tensor all = multiply(backend(), ready, x);
    for (const int64_t count : {1, 2, 5, 6, 13, 14, 15, 257}) {
      const int64_t first = 300 - count;
      EXPECT_TRUE(
          same_bits(multiply(backend(), ready, x.rows(first, count)), all.rows(first, count)))
          << name << " " << count;
    }
    for (int64_t row = 0; row < 40; ++row) {
      ASSERT_TRUE(same_bits(multiply(backend(), ready, x.rows(row, 1)), all.rows(row, 1)))
          << name << " row " << row;
    }
  }
}

TEST_P(Determinism, AttentionRowsDoNotDependOnTheBatch) {
  if (on_a_card()) GTEST_SKIP() << kBatchMatters;
  const AttentionRun attention(backend());
  for (const bool causal : {true, false}) {
    const Tensor all = attention(0, 70, causal);
    for (int64_t token = 0; token < 70; ++token) {
      ASSERT_TRUE(same_bits(attention(token, 1, causal), all.rows(token, 1)))
          << "token " << token << (causal ? " causal" : "");
    }
    ASSERT_TRUE(same_bits(attention(13, 17, causal), all.rows(13, 17)));
  }
}

}  // namespace
}  // namespace squint::test
