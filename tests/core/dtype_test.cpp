#include "core/dtype.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace squint {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();

TEST(DType, NamesAndSizes) {
  EXPECT_EQ(byte_size(DType::u8), 1);
  EXPECT_EQ(byte_size(DType::bf16), 2);
  EXPECT_EQ(byte_size(DType::f64), 8);
  for (const DType dtype : {DType::u8, DType::i8, DType::i16, DType::i32, DType::i64, DType::f16,
                            DType::bf16, DType::f32, DType::f64}) {
    EXPECT_EQ(dtype_from_name(name(dtype)), dtype);
  }
  EXPECT_EQ(name(DType::bf16), "BF16");
  for (const char* unknown : {"", "bf16", "F8_E4M3", "F3", "F322"}) {
    EXPECT_EQ(dtype_from_name(unknown), std::nullopt) << unknown;
  }
}

TEST(Bf16, TiesGoToEven) {
  const auto rounded = [](uint32_t bits) { return to_bf16(std::bit_cast<float>(bits)).bits; };
  EXPECT_EQ(rounded(0x3f800000), 0x3f80);
  EXPECT_EQ(rounded(0x3f807fff), 0x3f80);
  EXPECT_EQ(rounded(0x3f808000), 0x3f80) << "tie, down to even";
  EXPECT_EQ(rounded(0x3f808001), 0x3f81);
  EXPECT_EQ(rounded(0x3f818000), 0x3f82) << "tie, up to even";
  EXPECT_EQ(rounded(0xbf818000), 0xbf82);
  EXPECT_EQ(rounded(0x3fffffff), 0x4000) << "carries into the exponent";
}

TEST(Bf16, EndsOfTheRange) {
  EXPECT_EQ(to_bf16(0.0f).bits, 0x0000);
  EXPECT_EQ(to_bf16(-0.0f).bits, 0x8000);
  EXPECT_EQ(to_bf16(kInf).bits, 0x7f80);
  EXPECT_EQ(to_bf16(-kInf).bits, 0xff80);
  EXPECT_EQ(to_bf16(std::numeric_limits<float>::max()).bits, 0x7f80) << "rounds up to infinity";
  EXPECT_EQ(to_bf16(std::bit_cast<float>(0x7f7f7fffu)).bits, 0x7f7f);
  EXPECT_EQ(to_bf16(std::numeric_limits<float>::denorm_min()).bits, 0x0000);
  EXPECT_EQ(to_bf16(std::bit_cast<float>(0x00018000u)).bits, 0x0002) << "subnormals round too";
}

TEST(Bf16, NaNStaysNaN) {
  for (const uint32_t bits : {0x7fc00000u, 0x7f800001u, 0x7fffffffu, 0xffffffffu, 0xff800001u}) {
    const bf16 half = to_bf16(std::bit_cast<float>(bits));
    EXPECT_TRUE(std::isnan(to_float(half))) << std::hex << bits;
    EXPECT_EQ(half.bits >> 15, bits >> 31) << "keeps its sign";
  }
}

TEST(Bf16, EveryValueSurvivesTheRoundTrip) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const bf16 x{static_cast<uint16_t>(bits)};
    if (std::isnan(to_float(x))) continue;
    ASSERT_EQ(to_bf16(to_float(x)), x) << bits;
  }
  EXPECT_EQ(round_to_bf16(1.00390625f), 1.0f);  // 1 + 2^-8, a tie
}

TEST(F16, KnownValues) {
  EXPECT_EQ(to_float(f16{0x0000}), 0.0f);
  EXPECT_TRUE(std::signbit(to_float(f16{0x8000})));
  EXPECT_EQ(to_float(f16{0x3c00}), 1.0f);
  EXPECT_EQ(to_float(f16{0xc000}), -2.0f);
  EXPECT_EQ(to_float(f16{0x3555}), 0.333251953125f);
  EXPECT_EQ(to_float(f16{0x7bff}), 65504.0f);
  EXPECT_EQ(to_float(f16{0x0001}), 0x1p-24f) << "smallest subnormal";
  EXPECT_EQ(to_float(f16{0x03ff}), 0x3ffp-24f) << "largest subnormal";
  EXPECT_EQ(to_float(f16{0x0400}), 0x1p-14f) << "smallest normal";
  EXPECT_EQ(to_float(f16{0x7c00}), kInf);
  EXPECT_EQ(to_float(f16{0xfc00}), -kInf);
  EXPECT_TRUE(std::isnan(to_float(f16{0x7e00})));
  EXPECT_TRUE(std::isnan(to_float(f16{0x7c01})));
}

TEST(F16, GrowsWithItsBits) {
  for (uint16_t bits = 0; bits < 0x7c00; ++bits) {
    ASSERT_LT(to_float(f16{bits}), to_float(f16{static_cast<uint16_t>(bits + 1)})) << bits;
  }
}

}  // namespace
}  // namespace squint
