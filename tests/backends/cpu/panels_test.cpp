#include "backends/cpu/panels.h"

#include <gtest/gtest.h>

#include <vector>

#include "squint/error.h"

namespace squint::cpu {
namespace {

class PanelWeights : public ::testing::Test {
 protected:
  ThreadPool threads_{2};
};

TEST_F(PanelWeights, DenseRowsLieSideBySide) {
  constexpr int64_t kOut = 18;
  constexpr int64_t kIn = 3;
  std::vector<float> values;
  for (int i = 1; i <= kOut * kIn; ++i) values.push_back(static_cast<float>(i));
  const auto made = PanelWeight::make({.out_features = kOut,
                                       .in_features = kIn,
                                       .weight = Tensor::copy_of<float>(values, {kOut, kIn}),
                                       .bias = {}},
                                      threads_);
  const Panels& p = made->panels();
  EXPECT_EQ(p.format, PanelFormat::f32);
  EXPECT_EQ(p.in, kIn);
  EXPECT_EQ(p.out, kOut);
  const auto* lanes = static_cast<const float*>(p.values);
  for (int64_t row = 0; row < 2 * kLanes; ++row) {
    for (int64_t k = 0; k < kIn; ++k) {
      const float expected = row < kOut ? values[static_cast<size_t>(row * kIn + k)] : 0.0f;
      EXPECT_EQ(lanes[(row / kLanes * kIn + k) * kLanes + row % kLanes], expected)
          << row << ", " << k;
    }
  }
}

TEST_F(PanelWeights, Bfloat16StaysAsItIs) {
  const std::vector<bf16> values = {{0x3f80}, {0x4000}, {0x7fc1}};
  const auto made = PanelWeight::make({.out_features = 1,
                                       .in_features = 3,
                                       .weight = Tensor::copy_of<bf16>(values, {1, 3}),
                                       .bias = {}},
                                      threads_);
  EXPECT_EQ(made->panels().format, PanelFormat::bf16);
  const auto* lanes = static_cast<const uint16_t*>(made->panels().values);
  for (size_t k = 0; k < 3; ++k) {
    EXPECT_EQ(lanes[k * kLanes], values[k].bits);
    EXPECT_EQ(lanes[k * kLanes + 1], 0);
  }
}

// Ten rows, two groups: lanes 0-7 in low nibbles, 8 and 9 in high ones.
TEST_F(PanelWeights, FourBitCodesShareBytes) {
  const QuantizationScheme scheme{.bits = 4, .group_size = 2, .symmetric = false};
  const QuantizedWeight q = QuantizedWeight::on_host(10, 4, scheme);
  for (size_t i = 0; i < 40; ++i) q.codes.span<int8_t>()[i] = static_cast<int8_t>(i * 5 % 16 - 8);
  for (size_t i = 0; i < 20; ++i) {
    q.scales.span<bf16>()[i] = to_bf16(static_cast<float>(i + 1));
    q.zero_points.span<int8_t>()[i] = static_cast<int8_t>(i % 16 - 8);
  }
  const auto made = PanelWeight::make(
      {.out_features = 10, .in_features = 4, .weight = pack_linear(q, scheme), .bias = {}},
      threads_);
  const Panels& p = made->panels();
  EXPECT_EQ(p.format, PanelFormat::int4);
  EXPECT_EQ(p.group_columns, 2);
  const auto* bytes = static_cast<const uint8_t*>(p.values);
  for (int64_t row = 0; row < 10; ++row) {
    for (int64_t k = 0; k < 4; ++k) {
      const int byte = bytes[k * 8 + row % 8];
      const int code = (row < 8 ? byte & 15 : byte >> 4) - 8;
      EXPECT_EQ(code, q.codes.span<int8_t>()[static_cast<size_t>(row * 4 + k)]) << row << ", " << k;
    }
    for (int64_t g = 0; g < 2; ++g) {
      EXPECT_EQ(p.scales[g * kLanes + row], static_cast<float>(row * 2 + g + 1));
      EXPECT_EQ(p.zeros[g * kLanes + row], static_cast<float>((row * 2 + g) % 16));
    }
  }
  // Lanes without a row multiply by nothing.
  for (int64_t lane = 10; lane < kLanes; ++lane) EXPECT_EQ(p.scales[lane], 0.0f);
}

TEST_F(PanelWeights, EightBitCodesAreBytes) {
  const QuantizationScheme scheme{.bits = 8, .group_size = 0, .symmetric = true};
  const QuantizedWeight q = QuantizedWeight::on_host(2, 3, scheme);
  const std::vector<int8_t> codes = {-128, 0, 127, 1, -1, 5};
  std::copy(codes.begin(), codes.end(), q.codes.span<int8_t>().begin());
  for (bf16& s : q.scales.span<bf16>()) s = to_bf16(0.5f);
  const auto made = PanelWeight::make(
      {.out_features = 2, .in_features = 3, .weight = pack_linear(q, scheme), .bias = {}},
      threads_);
  const Panels& p = made->panels();
  EXPECT_EQ(p.format, PanelFormat::int8);
  EXPECT_EQ(p.group_columns, 3);
  EXPECT_EQ(p.zeros[0], 128.0f);
  const auto* bytes = static_cast<const uint8_t*>(p.values);
  for (size_t i = 0; i < 6; ++i) EXPECT_EQ(bytes[i % 3 * kLanes + i / 3], codes[i] + 128);
}

TEST_F(PanelWeights, SizesAreKnownBefore) {
  for (const DType dtype : {DType::bf16, DType::f32}) {
    const Tensor weight = Tensor::on_host(dtype, {37, 24});
    std::fill_n(weight.raw(), weight.bytes(), std::byte{0});
    const auto made = PanelWeight::make(
        {.out_features = 37, .in_features = 24, .weight = weight, .bias = {}}, threads_);
    EXPECT_EQ(PanelWeight::size_of({.out_features = 37, .in_features = 24, .dtype = dtype}).kept,
              made->bytes());
  }
  for (const int bits : {4, 8}) {
    for (const int64_t group : {0, 8}) {
      const QuantizationScheme scheme{.bits = bits, .group_size = group};
      const QuantizedWeight q = QuantizedWeight::on_host(37, 24, scheme);
      std::fill_n(q.codes.raw(), q.codes.bytes(), std::byte{0});
      std::fill_n(q.scales.raw(), q.scales.bytes(), std::byte{0});
      std::fill_n(q.zero_points.raw(), q.zero_points.bytes(), std::byte{0});
      const auto made = PanelWeight::make(
          {.out_features = 37, .in_features = 24, .weight = pack_linear(q, scheme), .bias = {}},
          threads_);
      EXPECT_EQ(
          PanelWeight::size_of({.out_features = 37, .in_features = 24, .scheme = scheme}).kept,
          made->bytes());
    }
  }
}

TEST_F(PanelWeights, SizesMustAgree) {
  const QuantizationScheme scheme{.bits = 8, .group_size = 0};
  const QuantizedWeight q = QuantizedWeight::on_host(2, 4, scheme);
  for (int8_t& c : q.codes.span<int8_t>()) c = 0;
  EXPECT_THROW(
      PanelWeight::make(
          {.out_features = 3, .in_features = 4, .weight = pack_linear(q, scheme), .bias = {}},
          threads_),
      InternalError);
  for (const Shape& shape : {Shape{2, 4}, Shape{4, 3}, Shape{12}}) {
    EXPECT_THROW(PanelWeight::make({.out_features = 3,
                                    .in_features = 4,
                                    .weight = Tensor::on_host(DType::bf16, shape),
                                    .bias = {}},
                                   threads_),
                 InternalError)
        << shape.to_string();
  }
}

}  // namespace
}  // namespace squint::cpu
