#include <gtest/gtest.h>

#include <string>

#include "image/decode.h"
#include "image/encode.h"
#include "squint/error.h"

namespace squint::image {
namespace {

using test::Bytes;
using test::view;
using test::Writer;

struct BmpSpec {
  int32_t width, height;  // a negative height: first row first
  uint32_t bits;
  uint32_t compression = 0;
  uint32_t header_bytes = 40;
  Bytes after = {};  // masks and palette
  uint32_t colors = 0;
};

Bytes encode(const BmpSpec& spec, const Bytes& pixels) {
  Writer out;
  const uint32_t start = 14 + spec.header_bytes + static_cast<uint32_t>(spec.after.size());
  out.text("BM").u32(start + static_cast<uint32_t>(pixels.size())).u32(0);
  // Longer headers begin with the short one; what follows it is part of `after`.
  const uint32_t beyond = spec.header_bytes > 40 ? spec.header_bytes - 40 : 0;
  out.u32(start - beyond).u32(spec.header_bytes);
  out.u32(static_cast<uint32_t>(spec.width)).u32(static_cast<uint32_t>(spec.height));
  out.u16(1).u16(spec.bits).u32(spec.compression).u32(0).u32(0).u32(0).u32(spec.colors).u32(0);
  return out.raw(spec.after).raw(pixels).bytes();
}

Image read(const BmpSpec& spec, const Bytes& pixels, Alpha alpha = Alpha::drop) {
  return decode(view(encode(spec, pixels)), "a.bmp", {.alpha = alpha});
}

Bytes masks(uint32_t red, uint32_t green, uint32_t blue) {
  return Writer().u32(red).u32(green).u32(blue).bytes();
}

const Bytes kTwoColors = {30, 20, 10, 0, 60, 50, 40, 0};  // BGR and a spare byte

TEST(Bmp, RowsRunUpwardsUnlessTheHeightIsNegative) {
  const Bytes pixels = {3, 2, 1, 0, 6, 5, 4, 0};
  EXPECT_EQ(read({.width = 1, .height = 2, .bits = 24}, pixels).rgb, (Bytes{4, 5, 6, 1, 2, 3}));
  EXPECT_EQ(read({.width = 1, .height = -2, .bits = 24}, pixels).rgb, (Bytes{1, 2, 3, 4, 5, 6}));
}

TEST(Bmp, PalettesOfEveryDepth) {
  const Bytes expected = {10, 20, 30, 40, 50, 60, 10, 20, 30};
  BmpSpec spec{.width = 3, .height = 1, .bits = 1, .after = kTwoColors, .colors = 2};
  EXPECT_EQ(read(spec, {0x40, 0, 0, 0}).rgb, expected);
  spec.bits = 4;
  EXPECT_EQ(read(spec, {0x01, 0x00, 0, 0}).rgb, expected);
  spec.bits = 8;
  EXPECT_EQ(read(spec, {0, 1, 0, 0}).rgb, expected);
  // Beyond the palette is black.
  EXPECT_EQ(read(spec, {9, 1, 0, 0}).rgb, (Bytes{0, 0, 0, 40, 50, 60, 10, 20, 30}));
}

TEST(Bmp, OldHeaderHasShortPaletteEntries) {
  Writer file;
  file.text("BM").u32(0).u32(0).u32(14 + 12 + 6).u32(12).u16(2).u16(1).u16(1).u16(1);
  file.raw({30, 20, 10, 60, 50, 40}).raw({0x40, 0, 0, 0});
  EXPECT_EQ(decode(view(file.bytes()), "a.bmp").rgb, (Bytes{10, 20, 30, 40, 50, 60}));
}

TEST(Bmp, SixteenBits) {
  // 5-5-5 by default: red 31, green 1, blue 0.
  EXPECT_EQ(read({.width = 1, .height = 1, .bits = 16}, {0x20, 0x7c, 0, 0}).rgb,
            (Bytes{255, 8, 0}));
  // 5-6-5 by masks: green has 6 bits.
  const BmpSpec spec{.width = 1,
                     .height = 1,
                     .bits = 16,
                     .compression = 3,
                     .after = masks(0xf800, 0x07e0, 0x001f)};
  EXPECT_EQ(read(spec, {0x20, 0xf8, 0, 0}).rgb, (Bytes{255, 4, 0}));
}

TEST(Bmp, ThirtyTwoBits) {
  // The fourth byte is a filler without a mask for it.
  EXPECT_EQ(read({.width = 1, .height = 1, .bits = 32}, {3, 2, 1, 0}, Alpha::white).rgb,
            (Bytes{1, 2, 3}));
  BmpSpec spec{.width = 1,
               .height = 1,
               .bits = 32,
               .compression = 3,
               .after = masks(0xff, 0xff00, 0xff0000)};
  EXPECT_EQ(read(spec, {1, 2, 3, 0}).rgb, (Bytes{1, 2, 3}));
  // A header of 56 bytes has a mask for alpha.
  spec.header_bytes = 56;
  spec.after = Writer().raw(spec.after).u32(0xff000000).bytes();
  EXPECT_EQ(read(spec, {100, 0, 200, 51}).rgb, (Bytes{100, 0, 200}));
  EXPECT_EQ(read(spec, {100, 0, 200, 51}, Alpha::white).rgb, (Bytes{224, 204, 244}));
}

TEST(Bmp, EightBitRuns) {
  const BmpSpec spec{
      .width = 4, .height = 2, .bits = 8, .compression = 1, .after = kTwoColors, .colors = 2};
  // Lower row: a run of two, then a literal of three, of which one is past the edge. Upper row:
  // a jump by one, a run of one, the end.
  const Image image = read(spec, {2, 1, 0, 3, 0, 1, 1, 0, 0, 0, 0, 2, 1, 0, 1, 1, 0, 1});
  Bytes red;
  for (size_t i = 0; i < image.rgb.size(); i += 3) red.push_back(image.rgb[i]);
  EXPECT_EQ(red, (Bytes{10, 40, 10, 10, 40, 40, 10, 40}));
}

TEST(Bmp, FourBitRuns) {
  const BmpSpec spec{
      .width = 5, .height = 1, .bits = 4, .compression = 2, .after = kTwoColors, .colors = 2};
  const Image image = read(spec, {2, 0x01, 0, 3, 0x10, 0x10, 0, 1});
  Bytes red;
  for (size_t i = 0; i < image.rgb.size(); i += 3) red.push_back(image.rgb[i]);
  EXPECT_EQ(red, (Bytes{10, 40, 40, 10, 40}));
}

TEST(Bmp, RefusedVariantsAndLies) {
  const auto refused = [](const BmpSpec& spec, const std::string& part) {
    try {
      read(spec, Bytes(64, 0));
      ADD_FAILURE() << "expected a refusal with \"" << part << "\"";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::bad_input);
      EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
    }
  };
  refused({.width = 1, .height = 1, .bits = 24, .compression = 5}, "compression");
  refused({.width = 1, .height = 1, .bits = 24, .compression = 1}, "compression");
  refused({.width = 1, .height = 1, .bits = 7}, "bits per pixel");
  refused({.width = -1, .height = 1, .bits = 24}, "-1x1");
  refused({.width = 1, .height = 1, .bits = 24, .header_bytes = 39}, "header");
  refused({.width = 1, .height = INT32_MIN, .bits = 24}, "at most");
  refused({.width = 100, .height = 1, .bits = 24}, "truncated");
  refused({.width = 1, .height = 1, .bits = 8, .after = {}, .colors = 256}, "truncated");
}

}  // namespace
}  // namespace squint::image
