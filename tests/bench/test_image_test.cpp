#include "bench/test_image.h"

#include <gtest/gtest.h>

#include <set>

#include "image/decode.h"

namespace squint::bench {
namespace {

image::Image decoded(const std::string& bytes) {
  return image::decode(std::as_bytes(std::span(bytes)), "test image");
}

TEST(TestImage, HasItsSizeAndSomethingOnIt) {
  for (const auto& [width, height] : {std::pair<int64_t, int64_t>{1, 1}, {33, 70}, {256, 128}}) {
    const std::string bytes = test_image(width, height);
    EXPECT_EQ(bytes, test_image(width, height));
    const image::Image image = decoded(bytes);
    EXPECT_EQ(image.width, width);
    EXPECT_EQ(image.height, height);
  }
  const image::Image image = decoded(test_image(256, 128));
  EXPECT_GT(std::set<uint8_t>(image.rgb.begin(), image.rgb.end()).size(), 20u);
}

}  // namespace
}  // namespace squint::bench
