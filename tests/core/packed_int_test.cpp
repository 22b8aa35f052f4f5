#include "core/packed_int.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <random>
#include <vector>

#include "squint/error.h"
#include "support/json.h"
#include "support/paths.h"

namespace squint {
namespace {

using nlohmann::json;

json vectors() {
  return test::json_of(test::read_text(test::repo_dir() / "tests/data/awq-w4a16-vectors.json"));
}

template <class T>
Tensor matrix(const json& rows) {
  std::vector<T> values;
  for (const json& row : rows) {
    // Words are written unsigned; a signed word has the same bits.
    for (const json& x : row) values.push_back(static_cast<T>(x.get<int64_t>()));
  }
  return Tensor::copy_of<T>(
      values, {static_cast<int64_t>(rows.size()), static_cast<int64_t>(rows.at(0).size())});
}

template <class T>
std::vector<T> values(const Tensor& tensor) {
  const auto span = tensor.span<const T>();
  return {span.begin(), span.end()};
}

Tensor random_codes(const Shape& shape, int bits, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<int8_t> codes(static_cast<size_t>(shape.numel()));
  const int bias = 1 << (bits - 1);
  for (int8_t& c : codes) c = static_cast<int8_t>(static_cast<int>(random() % (2 * bias)) - bias);
  return Tensor::copy_of<int8_t>(codes, shape);
}

// Other programs read these bytes. If one of the next tests fails, the file format has changed.
TEST(PackedInt, LowestColumnSitsInTheLowestBits) {
  const std::vector<int8_t> codes = {-8, -7, -6, -5, -4, -3, -2, -1};
  const Tensor packed = pack_weight(Tensor::copy_of<int8_t>(codes, {1, 8}), 4);
  EXPECT_EQ(values<int32_t>(packed), std::vector<int32_t>{0x76543210});
  const std::vector<int8_t> bytes = {-128, 127, 0, -1};
  const Tensor packed8 = pack_weight(Tensor::copy_of<int8_t>(bytes, {1, 4}), 8);
  EXPECT_EQ(values<int32_t>(packed8), std::vector<int32_t>{0x7f80ff00});
}

TEST(PackedInt, RowEndIsFilledWithZeroBitsNotWithTheCodeZero) {
  const std::vector<int8_t> codes = {7, 7, 7, 7, 7, 7, 7, 7, 0, -1};
  const Tensor packed = pack_weight(Tensor::copy_of<int8_t>(codes, {1, 10}), 4);
  EXPECT_EQ(packed.shape(), Shape({1, 2}));
  EXPECT_EQ(values<int32_t>(packed), (std::vector<int32_t>{-1, 0x78}));
}

TEST(PackedInt, ZeroPointsArePackedAlongTheRows) {
  // Ten rows, two groups: group 0 holds -8..1, group 1 all 7.
  std::vector<int8_t> zero_points;
  for (int row = 0; row < 10; ++row) {
    zero_points.push_back(static_cast<int8_t>(row - 8));
    zero_points.push_back(7);
  }
  const Tensor packed = pack_zero_points(Tensor::copy_of<int8_t>(zero_points, {10, 2}), 4);
  EXPECT_EQ(packed.shape(), Shape({2, 2}));
  EXPECT_EQ(values<int32_t>(packed), (std::vector<int32_t>{0x76543210, -1, 0x98, 0xff}));
}

TEST(PackedInt, AgreesWithTheReferenceVectors) {
  const json all = vectors();
  for (const char* key : {"V1_symmetric_minmax", "V2_asymmetric_minmax"}) {
    const json& v = all.at(key);
    const Tensor codes = matrix<int8_t>(v.at("codes"));
    const Tensor packed = pack_weight(codes, 4);
    EXPECT_EQ(values<int32_t>(packed), values<int32_t>(matrix<int32_t>(v.at("weight_packed_u32"))));
    EXPECT_EQ(values<int8_t>(unpack_weight(packed, 16, 4)), values<int8_t>(codes));
  }
  const json& v2 = all.at("V2_asymmetric_minmax");
  const Tensor zero_points = matrix<int8_t>(v2.at("zero_point"));
  const Tensor packed = pack_zero_points(zero_points, 4);
  EXPECT_EQ(values<int32_t>(packed),
            values<int32_t>(matrix<int32_t>(v2.at("weight_zero_point_packed_u32"))));
  EXPECT_EQ(values<int8_t>(unpack_zero_points(packed, 8, 4)), values<int8_t>(zero_points));
}

class PackedIntRoundTrip : public ::testing::TestWithParam<int> {};

TEST_P(PackedIntRoundTrip, EveryShapeComesBack) {
  const int bits = GetParam();
  for (const int64_t rows : {1, 3, 8, 9, 17}) {
    for (const int64_t cols : {1, 4, 7, 8, 9, 128, 131}) {
      const auto seed = static_cast<uint32_t>(rows * 1000 + cols);
      SCOPED_TRACE(testing::Message() << rows << " x " << cols << ", seed " << seed);
      const Tensor codes = random_codes({rows, cols}, bits, seed);
      const Tensor weight = pack_weight(codes, bits);
      EXPECT_EQ(weight.shape(), Shape({rows, (cols * bits + 31) / 32}));
      EXPECT_EQ(values<int8_t>(unpack_weight(weight, cols, bits)), values<int8_t>(codes));
      const Tensor zero_points = pack_zero_points(codes, bits);
      EXPECT_EQ(zero_points.shape(), Shape({(rows * bits + 31) / 32, cols}));
      EXPECT_EQ(values<int8_t>(unpack_zero_points(zero_points, rows, bits)), values<int8_t>(codes));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Bits, PackedIntRoundTrip, ::testing::Values(4, 8));

TEST(PackedInt, CodesThatDoNotFitAreABugOfTheCaller) {
  for (const int8_t code : {int8_t{8}, int8_t{-9}, int8_t{127}, int8_t{-128}}) {
    const std::vector<int8_t> codes = {0, 0, code, 0};
    EXPECT_THROW(pack_weight(Tensor::copy_of<int8_t>(codes, {1, 4}), 4), InternalError);
    EXPECT_THROW(pack_zero_points(Tensor::copy_of<int8_t>(codes, {4, 1}), 4), InternalError);
  }
}

TEST(PackedInt, WrongShapesAreABugOfTheCaller) {
  const Tensor packed = pack_weight(random_codes({2, 16}, 4, 1), 4);
  EXPECT_THROW(unpack_weight(packed, 17, 4), InternalError);
  EXPECT_THROW(unpack_weight(packed, 8, 4), InternalError);
  EXPECT_THROW(unpack_weight(packed, 16, 3), InternalError);
  EXPECT_THROW(unpack_zero_points(packed, 17, 4), InternalError);
}

TEST(PackedLinear, AsymmetricLayerComesBack) {
  const QuantizationScheme scheme{.bits = 4, .group_size = 8, .symmetric = false};
  const QuantizedWeight weight{.codes = random_codes({9, 24}, 4, 2),
                               .scales = Tensor::on_host(DType::bf16, {9, 3}),
                               .zero_points = random_codes({9, 3}, 4, 3)};
  const PackedLinear linear = pack_linear(weight, scheme);
  EXPECT_EQ(linear.group_size, 8);
  EXPECT_EQ(linear.groups(), 3);
  EXPECT_FALSE(linear.symmetric());
  const QuantizedWeight back = unpack_linear(linear);
  EXPECT_EQ(values<int8_t>(back.codes), values<int8_t>(weight.codes));
  EXPECT_EQ(values<int8_t>(back.zero_points), values<int8_t>(weight.zero_points));
  EXPECT_EQ(back.scales.raw(), weight.scales.raw());
}

TEST(PackedLinear, SymmetricLayerHasNoZeroPoints) {
  const QuantizationScheme scheme{.bits = 8, .group_size = 0, .symmetric = true};
  QuantizedWeight weight = QuantizedWeight::on_host(5, 12, scheme);
  std::ranges::fill(weight.codes.span<int8_t>(), int8_t{-3});
  const PackedLinear linear = pack_linear(weight, scheme);
  EXPECT_TRUE(linear.symmetric());
  EXPECT_EQ(linear.group_size, 12);
  const QuantizedWeight back = unpack_linear(linear);
  EXPECT_EQ(values<int8_t>(back.codes), std::vector<int8_t>(60, -3));
  EXPECT_EQ(values<int8_t>(back.zero_points), std::vector<int8_t>(5, 0));
}

TEST(PackedLinear, RowsOneByOneAreTheWhole) {
  for (const bool symmetric : {true, false}) {
    for (const int bits : {4, 8}) {
      const QuantizationScheme scheme{.bits = bits, .group_size = 8, .symmetric = symmetric};
      QuantizedWeight weight = QuantizedWeight::on_host(9, 24, scheme);
      weight.codes = random_codes({9, 24}, bits, 2);
      weight.zero_points = random_codes({9, 3}, bits, 3);
      for (int i = 0; i < 27; ++i) {
        weight.scales.span<bf16>()[static_cast<size_t>(i)] = to_bf16(0.5f + static_cast<float>(i));
      }
      const PackedLinear linear = pack_linear(weight, scheme);
      for (int64_t row = 0; row < 9; ++row) {
        std::vector<float> found(24);
        dequantize_row(linear, row, found);
        for (int64_t c = 0; c < 24; ++c) {
          const auto group = static_cast<size_t>(row * 3 + c / 8);
          const int zero = symmetric ? 0 : weight.zero_points.span<int8_t>()[group];
          const int code = weight.codes.span<int8_t>()[static_cast<size_t>(row * 24 + c)];
          EXPECT_EQ(found[static_cast<size_t>(c)],
                    static_cast<float>(code - zero) * (0.5f + static_cast<float>(group)));
        }
      }
    }
  }
}

}  // namespace
}  // namespace squint
