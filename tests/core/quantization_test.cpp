#include "core/quantization.h"

#include <gtest/gtest.h>

#include <cmath>

namespace squint {
namespace {

constexpr QuantizationScheme kSymmetric{.bits = 4, .group_size = 8, .symmetric = true};
constexpr QuantizationScheme kAsymmetric{.bits = 4, .group_size = 8, .symmetric = false};
constexpr float kEpsilon = 0.0078125f;

void expect_group(const GroupParameters& group, float scale, float zero) {
  EXPECT_EQ(group.scale, scale);
  EXPECT_EQ(group.zero, zero);
}

TEST(QuantizationScheme, CodesAndGroups) {
  EXPECT_EQ(kSymmetric.lowest(), -8);
  EXPECT_EQ(kSymmetric.highest(), 7);
  const QuantizationScheme bytes{.bits = 8, .group_size = 0};
  EXPECT_EQ(bytes.lowest(), -128);
  EXPECT_EQ(bytes.highest(), 127);
  EXPECT_EQ(bytes.group_columns(300), 300);
  EXPECT_EQ(bytes.groups(300), 1);
  EXPECT_EQ(kSymmetric.groups(24), 3);
  EXPECT_EQ(kSymmetric.group_columns(5), 5) << "narrower than a group";
  EXPECT_TRUE(kSymmetric.divides(24));
  EXPECT_TRUE(kSymmetric.divides(5));
  EXPECT_FALSE(kSymmetric.divides(20));
}

TEST(GroupParameters, SymmetricDividesByHalfTheSteps) {
  expect_group(group_parameters(-0.9375f, 0.9375f, kSymmetric), 0.125f, 0);
  expect_group(group_parameters(-0.25f, 0.9375f, kSymmetric), 0.125f, 0);
  expect_group(group_parameters(-0.9375f, 0.25f, kSymmetric), 0.125f, 0);
}

// Half a step past -8 for the end that reaches further, half a step past 7 for the other.
TEST(GroupParameters, SignedScalesTurnTheLongerEndDown) {
  QuantizationScheme scheme = kSymmetric;
  scheme.signed_scales = true;
  expect_group(group_parameters(-0.25f, 1.0625f, scheme), -0.125f, 0);
  expect_group(group_parameters(-1.0625f, 0.25f, scheme), 0.125f, 0);
  expect_group(group_parameters(-0.9375f, 1, scheme), -0.125f, 0);
  expect_group(group_parameters(-0.9375f, 0.9375f, scheme), 0.125f, 0);
  expect_group(group_parameters(0, 0, scheme), kEpsilon, 0);
  EXPECT_EQ(quantize_value(0.9375f, {.scale = -0.125f, .zero = 0}, scheme), -8);
  EXPECT_EQ(quantize_value(-0.25f, {.scale = -0.125f, .zero = 0}, scheme), 2);
}

TEST(GroupParameters, AsymmetricUsesTheWholeRange) {
  expect_group(group_parameters(-1, 0.875f, kAsymmetric), 0.125f, 0);
  expect_group(group_parameters(0.5f, 1.875f, kAsymmetric), 0.125f, -8);  // 0 is in the range
  expect_group(group_parameters(-1.875f, -0.5f, kAsymmetric), 0.125f, 7);
}

TEST(GroupParameters, AGroupOfZeros) {
  expect_group(group_parameters(0, 0, kSymmetric), kEpsilon, 0);
  expect_group(group_parameters(0, 0, kAsymmetric), kEpsilon, 0);
}

// The scale underflows to 0: -8 - (-infinity) is clamped before the scale is replaced.
TEST(GroupParameters, AScaleThatVanishes) {
  const float tiny = 0x1p-133f;
  expect_group(group_parameters(-tiny, 0, kAsymmetric), kEpsilon, 7);
  expect_group(group_parameters(0, tiny, kAsymmetric), kEpsilon, 0);
}

TEST(QuantizeValue, RoundsTheQuotientToBf16First) {
  // The quotient is 6.51, whose bf16 is 6.5, a tie that goes to 6 (spec awq-w4a16.md §7.1).
  EXPECT_EQ(quantize_value(0.87109375f, {.scale = 0.1337890625f, .zero = 0}, kSymmetric), 6);
}

TEST(QuantizeValue, ClampsAndTiesToEven) {
  const GroupParameters group{.scale = 0.125f, .zero = 0};
  EXPECT_EQ(quantize_value(0.9375f, group, kSymmetric), 7);
  EXPECT_EQ(quantize_value(-0.9375f, group, kSymmetric), -8);
  EXPECT_EQ(quantize_value(100, group, kSymmetric), 7);
  EXPECT_EQ(quantize_value(-100, group, kSymmetric), -8);
  EXPECT_EQ(quantize_value(0.0625f, group, kSymmetric), 0);    // 0.5
  EXPECT_EQ(quantize_value(0.1875f, group, kSymmetric), 2);    // 1.5
  EXPECT_EQ(quantize_value(-0.3125f, group, kSymmetric), -2);  // -2.5
  EXPECT_EQ(quantize_value(0.25f, {.scale = 0.125f, .zero = -8}, kAsymmetric), -6);
  EXPECT_EQ(quantize_value(1e30f, {.scale = 1e-20f, .zero = -8}, kAsymmetric), 7) << "infinite";
}

TEST(DequantizeValue, UndoesCodes) {
  EXPECT_EQ(dequantize_value(-8, {.scale = 0.125f, .zero = 0}), -1.0f);
  EXPECT_EQ(dequantize_value(7, {.scale = 0.125f, .zero = -8}), 1.875f);
  // 7 * 0.10498046875 = 0.73486328125 has nine significant bits.
  EXPECT_EQ(dequantize_value(7, {.scale = 0.10498046875f, .zero = 0}), 0.734375f);
  // Zero weights come back as exactly zero, whatever the range.
  for (const float low : {-3.0f, -0.01f, 0.0f, 2.0f}) {
    const GroupParameters group = group_parameters(low, low + 2.5f, kAsymmetric);
    EXPECT_EQ(dequantize_value(quantize_value(0, group, kAsymmetric), group), 0) << low;
  }
}

TEST(QuantizedWeight, HasOneScalePerGroup) {
  const QuantizedWeight w = QuantizedWeight::on_host(3, 24, kSymmetric);
  EXPECT_EQ(w.codes.shape(), Shape({3, 24}));
  EXPECT_EQ(w.codes.dtype(), DType::i8);
  EXPECT_EQ(w.scales.shape(), Shape({3, 3}));
  EXPECT_EQ(w.scales.dtype(), DType::bf16);
  EXPECT_EQ(w.zero_points.shape(), Shape({3, 3}));
}

}  // namespace
}  // namespace squint
