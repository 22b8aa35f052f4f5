#include <gtest/gtest.h>
#include <png.h>

#include "image/decode.h"
#include "image/encode.h"

namespace squint::image {
namespace {

using test::Bytes;
using test::PngSpec;
using test::view;

Bytes ramp(int count) {
  Bytes out;
  for (int i = 0; i < count; ++i) out.push_back(static_cast<uint8_t>(i * 37 + i / 8 * 11));
  return out;
}

Image read(const PngSpec& spec, const Bytes& samples, const DecodeOptions& options = {}) {
  return decode(view(test::encode_png(spec, samples)), "a.png", options);
}

TEST(Png, InterlacedIsTheSameImage) {
  PngSpec spec{.width = 13, .height = 9, .color_type = PNG_COLOR_TYPE_RGB};
  const Bytes samples = ramp(13 * 9 * 3);
  EXPECT_EQ(read(spec, samples), (Image{13, 9, samples}));
  spec.interlaced = true;
  EXPECT_EQ(read(spec, samples), (Image{13, 9, samples}));
}

TEST(Png, FourAndTwoBitGreyAreScaled) {
  EXPECT_EQ(
      read({.width = 2, .height = 1, .color_type = PNG_COLOR_TYPE_GRAY, .bit_depth = 4}, {0x1f})
          .rgb,
      (Bytes{17, 17, 17, 255, 255, 255}));
  EXPECT_EQ(
      read({.width = 4, .height = 1, .color_type = PNG_COLOR_TYPE_GRAY, .bit_depth = 2}, {0x1b})
          .rgb,
      (Bytes{0, 0, 0, 85, 85, 85, 170, 170, 170, 255, 255, 255}));
}

TEST(Png, WideGreyIsClippedAndWideColourKeepsItsUpperByte) {
  EXPECT_EQ(read({.width = 3, .height = 1, .color_type = PNG_COLOR_TYPE_GRAY, .bit_depth = 16},
                 {0, 7, 0, 255, 1, 0})
                .rgb,
            (Bytes{7, 7, 7, 255, 255, 255, 255, 255, 255}));
  EXPECT_EQ(read({.width = 1, .height = 1, .color_type = PNG_COLOR_TYPE_RGB, .bit_depth = 16},
                 {1, 255, 2, 0, 3, 200})
                .rgb,
            (Bytes{1, 2, 3}));
  EXPECT_EQ(
      read({.width = 1, .height = 1, .color_type = PNG_COLOR_TYPE_GRAY_ALPHA, .bit_depth = 16},
           {9, 255, 0, 0})
          .rgb,
      (Bytes{9, 9, 9}));
}

TEST(Png, AlphaIsDroppedOrLaidOverWhite) {
  const PngSpec spec{.width = 3, .height = 1, .color_type = PNG_COLOR_TYPE_RGBA};
  const Bytes samples = {10, 20, 30, 0, 10, 20, 30, 255, 100, 0, 200, 51};
  EXPECT_EQ(read(spec, samples).rgb, (Bytes{10, 20, 30, 10, 20, 30, 100, 0, 200}));
  // 0.2 of the colour and 0.8 of white.
  EXPECT_EQ(read(spec, samples, {.alpha = Alpha::white}).rgb,
            (Bytes{255, 255, 255, 10, 20, 30, 224, 204, 244}));
}

TEST(Png, PaletteWithTransparency) {
  const PngSpec spec{.width = 2,
                     .height = 1,
                     .color_type = PNG_COLOR_TYPE_PALETTE,
                     .palette = {1, 2, 3, 4, 5, 6},
                     .palette_alpha = {0}};
  EXPECT_EQ(read(spec, {0, 1}).rgb, (Bytes{1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(read(spec, {0, 1}, {.alpha = Alpha::white}).rgb, (Bytes{255, 255, 255, 4, 5, 6}));
}

TEST(Png, OrientationBeforeAndBehindThePixels) {
  for (const bool last : {false, true}) {
    const PngSpec spec{.width = 2,
                       .height = 1,
                       .color_type = PNG_COLOR_TYPE_RGB,
                       .orientation = 3,
                       .orientation_last = last};
    EXPECT_EQ(read(spec, {1, 2, 3, 4, 5, 6}).rgb, (Bytes{4, 5, 6, 1, 2, 3})) << last;
  }
}

// Pillow is content once it has all pixels.
TEST(Png, MissingEndIsForgiven) {
  const PngSpec spec{.width = 2, .height = 1, .color_type = PNG_COLOR_TYPE_RGB};
  Bytes file = test::encode_png(spec, {1, 2, 3, 4, 5, 6});
  file.resize(file.size() - 12);
  EXPECT_EQ(decode(view(file), "a.png").rgb, (Bytes{1, 2, 3, 4, 5, 6}));
}

}  // namespace
}  // namespace squint::image
