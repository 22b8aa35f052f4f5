#include "image/distort.h"

#include <gtest/gtest.h>

namespace squint::image {
namespace {

Image dots(int64_t width, int64_t height, std::initializer_list<std::pair<int64_t, int64_t>> at) {
  Image out{.width = width, .height = height, .rgb = {}};
  out.rgb.resize(static_cast<size_t>(width * height * 3));
  for (const auto& [x, y] : at) {
    for (int64_t c = 0; c < 3; ++c) out.rgb[static_cast<size_t>((y * width + x) * 3 + c)] = 90;
  }
  return out;
}

int red(const Image& image, int64_t x, int64_t y) {
  return image.rgb[static_cast<size_t>((y * image.width + x) * 3)];
}

TEST(Distort, NothingChangesNothing) {
  const Image image = dots(7, 5, {{2, 3}, {6, 0}});
  EXPECT_EQ(distorted(image, {}).rgb, image.rgb);
}

TEST(Distort, TurnsAboutTheMiddle) {
  const Image turned = distorted(dots(5, 5, {{4, 2}}), {.degrees = 90});
  EXPECT_EQ(turned.rgb, dots(5, 5, {{2, 0}}).rgb);
}

TEST(Distort, WhatComesInIsTheEdge) {
  Image grey = dots(9, 4, {});
  std::ranges::fill(grey.rgb, uint8_t{77});
  EXPECT_EQ(distorted(grey, {.degrees = 30, .blur = 1}).rgb, grey.rgb);
}

TEST(Distort, ContrastAndBrightnessEndAtBlackAndWhite) {
  const Image image = dots(2, 1, {{0, 0}});
  const Image out = distorted(image, {.contrast = 2, .brightness = 0.2});
  EXPECT_EQ(red(out, 0, 0), 104);  // (90 - 127.5) * 2 + 127.5 + 51 = 103.5
  EXPECT_EQ(red(out, 1, 0), 0);
  EXPECT_EQ(red(distorted(image, {.brightness = 0.9}), 0, 0), 255);
}

TEST(Distort, BlurSpreadsAPixel) {
  const Image out = distorted(dots(5, 5, {{2, 2}}), {.blur = 0.5});
  EXPECT_EQ(red(out, 2, 2), 50);  // half of 90, half of 10
  EXPECT_EQ(red(out, 1, 1), 5);
  EXPECT_EQ(red(out, 0, 0), 0);
}

}  // namespace
}  // namespace squint::image
