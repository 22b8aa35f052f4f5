// quantize_weight must give the reference's integers, scales and zero points, bit for bit.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "conformance/guarded_tensor.h"
#include "conformance/on_every_backend.h"
#include "conformance/quantization_cases.h"
#include "conformance/random_values.h"
#include "core/packed_int.h"
#include "support/json.h"
#include "support/paths.h"

namespace squint::test {
namespace {

struct GuardedWeight {
  GuardedWeight(int64_t rows, int64_t cols, const QuantizationScheme& scheme)
      : codes(DType::i8, {rows, cols}),
        scales(DType::bf16, {rows, scheme.groups(cols)}),
        zero_points(DType::i8, {rows, scheme.groups(cols)}) {}

  QuantizedWeight view() const {
    return {.codes = *codes, .scales = *scales, .zero_points = *zero_points};
  }
  bool guards_hold() const {
    return codes.guards_hold() && scales.guards_hold() && zero_points.guards_hold();
  }

  GuardedTensor codes;
  GuardedTensor scales;
  GuardedTensor zero_points;
};

class QuantizeWeight : public OnEveryBackend {
 protected:
  void check(const WeightMatrix& matrix, const QuantizationScheme& scheme, Observer observer) {
    const int64_t rows = matrix.weight.dim(0);
    const int64_t cols = matrix.weight.dim(1);
    const std::string what = matrix.name + " " + matrix.weight.shape().to_string() + ", " +
                             describe(scheme) + (observer == Observer::mse ? ", mse" : ", minmax");
    const GuardedTensor weight(matrix.weight.span<const bf16>(), {rows, cols});
    const QuantizedWeight expected = QuantizedWeight::on_host(rows, cols, scheme);
    reference().quantize_weight(matrix.weight, scheme, observer, expected);
    const GuardedWeight out(rows, cols, scheme);
    backend().quantize_weight(*weight, scheme, observer, out.view());
    ASSERT_TRUE(same_bits(*out.scales, expected.scales)) << what;
    ASSERT_TRUE(same_bits(*out.zero_points, expected.zero_points)) << what;
    ASSERT_TRUE(same_bits(*out.codes, expected.codes)) << what;
    ASSERT_TRUE(out.guards_hold()) << what;
  }

  void check_all(int64_t rows, int64_t cols, int64_t group_size) {
    for (const WeightMatrix& matrix : hard_matrices(rows, cols, 70)) {
      for (const QuantizationScheme& scheme : schemes_with(group_size)) {
        for (const Observer observer : {Observer::minmax, Observer::mse}) {
          check(matrix, scheme, observer);
          if (HasFatalFailure()) return;
        }
      }
    }
  }
};
INSTANTIATE_TEST_SUITE_P(Kernels, QuantizeWeight, ::testing::ValuesIn(backends_here()),
                         backend_name);

TEST_P(QuantizeWeight, Groups32) { check_all(5, 96, 32); }
TEST_P(QuantizeWeight, Groups64) { check_all(3, 128, 64); }
TEST_P(QuantizeWeight, Groups128) { check_all(7, 384, 128); }
TEST_P(QuantizeWeight, OneGroupPerRow) {
  for (const int64_t cols : {1, 8, 17, 100, 257}) check_all(3, cols, 0);
}
TEST_P(QuantizeWeight, MatrixNarrowerThanAGroup) { check_all(4, 72, 128); }
TEST_P(QuantizeWeight, GroupsOfPartsOfAVector) {
  check_all(3, 40, 8);
  check_all(3, 72, 24);
}

// One or two groups: five steps without an improvement end the search (spec awq-w4a16.md §2.5), and
// which step that is depends on the values.
TEST_P(QuantizeWeight, PatienceEndsEarlyInTinyMatrices) {
  for (uint64_t seed = 0; seed < 200; ++seed) {
    for (const int64_t rows : {1, 2}) {
      WeightMatrix matrix{.name = "seed " + std::to_string(seed), .weight = {}};
      matrix.weight = Tensor::copy_of<bf16>(random_bf16(rows * 8, seed), {rows, 8});
      for (const QuantizationScheme& scheme : schemes_with(8)) check(matrix, scheme, Observer::mse);
      if (HasFatalFailure()) return;
    }
  }
}

// Patience is of the whole matrix: a group that stopped improving goes on while another improves.
TEST_P(QuantizeWeight, PatienceIsSharedByAllRows) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    WeightMatrix matrix{.name = "seed " + std::to_string(seed), .weight = {}};
    matrix.weight = Tensor::copy_of<bf16>(random_bf16(33 * 64, seed), {33, 64});
    for (const QuantizationScheme& scheme : schemes_with(32)) check(matrix, scheme, Observer::mse);
    if (HasFatalFailure()) return;
  }
}

using nlohmann::json;

json vectors() {
  return test::json_of(read_text(repo_dir() / "tests/data/awq-w4a16-vectors.json"));
}

template <class T>
Tensor matrix_of(const json& rows) {
  std::vector<T> values;
  for (const json& row : rows) {
    for (const json& x : row) {
      if constexpr (std::is_same_v<T, bf16>) {
        values.push_back({x.get<uint16_t>()});
      } else {
        values.push_back(static_cast<T>(x.get<int64_t>()));
      }
    }
  }
  return Tensor::copy_of<T>(
      values, {static_cast<int64_t>(rows.size()), static_cast<int64_t>(rows.at(0).size())});
}

class QuantizeVectors : public OnEveryBackend {
 protected:
  QuantizedWeight quantize(const Tensor& weight, const QuantizationScheme& scheme,
                           Observer observer) {
    const QuantizedWeight out = QuantizedWeight::on_host(weight.dim(0), weight.dim(1), scheme);
    backend().quantize_weight(weight, scheme, observer, out);
    return out;
  }
};
INSTANTIATE_TEST_SUITE_P(Kernels, QuantizeVectors, ::testing::ValuesIn(backends_here()),
                         backend_name);

// Spec awq-w4a16.md §7.1 and §7.2.
TEST_P(QuantizeVectors, MinMax) {
  const json all = vectors();
  for (const char* name : {"V1_symmetric_minmax", "V2_asymmetric_minmax"}) {
    SCOPED_TRACE(name);
    const json& v = all.at(name);
    const QuantizationScheme scheme{.bits = 4,
                                    .group_size = v.at("group_size").get<int64_t>(),
                                    .symmetric = v.at("symmetric").get<bool>()};
    const QuantizedWeight out =
        quantize(matrix_of<bf16>(v.at("weight_bf16")), scheme, Observer::minmax);
    EXPECT_TRUE(same_bits(out.scales, matrix_of<bf16>(v.at("scale_bf16"))));
    EXPECT_TRUE(same_bits(out.codes, matrix_of<int8_t>(v.at("codes"))));
    const PackedLinear packed = pack_linear(out, scheme);
    EXPECT_TRUE(same_bits(packed.packed, matrix_of<int32_t>(v.at("weight_packed_u32"))));
    if (scheme.symmetric) continue;
    EXPECT_TRUE(same_bits(out.zero_points, matrix_of<int8_t>(v.at("zero_point"))));
    EXPECT_TRUE(
        same_bits(packed.zero_point, matrix_of<int32_t>(v.at("weight_zero_point_packed_u32"))));
  }
}

// Spec awq-w4a16.md §7.3.
TEST_P(QuantizeVectors, Mse) {
  const json all = vectors();
  int cases = 0;
  for (const auto& [name, v] : all.at("V3_mse_observer").items()) {
    SCOPED_TRACE(name);
    const QuantizationScheme scheme{
        .bits = 4, .group_size = 8, .symmetric = v.at("symmetric").get<bool>()};
    const QuantizedWeight out =
        quantize(matrix_of<bf16>(v.at("rows_are_groups_bf16")), scheme, Observer::mse);
    const Shape groups = out.scales.shape();
    EXPECT_TRUE(same_bits(out.scales, matrix_of<bf16>(v.at("scale_bf16")).reshaped(groups)));
    EXPECT_TRUE(same_bits(out.zero_points, matrix_of<int8_t>(v.at("zero_point")).reshaped(groups)));
    EXPECT_TRUE(same_bits(out.codes, matrix_of<int8_t>(v.at("codes"))));
    ++cases;
  }
  EXPECT_EQ(cases, 4);
}

}  // namespace
}  // namespace squint::test
