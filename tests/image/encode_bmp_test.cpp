#include "image/encode_bmp.h"

#include <gtest/gtest.h>

#include "image/decode.h"
#include "image/encode.h"
#include "squint/error.h"

namespace squint::image {
namespace {

TEST(EncodeBmp, IsReadAsItWas) {
  for (const int64_t width : {1, 2, 3, 4, 37}) {
    Image image{.width = width, .height = 5, .rgb = {}};
    for (int64_t i = 0; i < width * 5 * 3; ++i) {
      image.rgb.push_back(static_cast<uint8_t>(i * 31));
    }
    EXPECT_EQ(decode(test::view(encode_bmp(image)), "bmp"), image) << width;
  }
}

TEST(EncodeBmp, ImagesThatHaveNoPlaceAreRefused) {
  const Image image{.width = 1 << 20, .height = 1 << 20, .rgb = {}};
  EXPECT_THROW(encode_bmp(image), Error);
}

}  // namespace
}  // namespace squint::image
