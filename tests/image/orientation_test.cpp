#include "image/orientation.h"

#include <gtest/gtest.h>

#include "image/encode.h"
#include "squint/error.h"

namespace squint::image {
namespace {

using test::Bytes;
using test::exif_block;
using test::view;

Image letters(int64_t width, int64_t height, const std::string& text) {
  Image out{width, height, {}};
  for (const char c : text) out.rgb.insert(out.rgb.end(), 3, static_cast<uint8_t>(c));
  return out;
}

// The eight ways to hold a camera over
//     a b c
//     d e f
TEST(Oriented, AllEight) {
  const Image stored = letters(3, 2, "abcdef");
  EXPECT_EQ(oriented(stored, 1), stored);
  EXPECT_EQ(oriented(stored, 2), letters(3, 2, "cbafed"));
  EXPECT_EQ(oriented(stored, 3), letters(3, 2, "fedcba"));
  EXPECT_EQ(oriented(stored, 4), letters(3, 2, "defabc"));
  EXPECT_EQ(oriented(stored, 5), letters(2, 3, "adbecf"));
  EXPECT_EQ(oriented(stored, 6), letters(2, 3, "daebfc"));
  EXPECT_EQ(oriented(stored, 7), letters(2, 3, "fcebda"));
  EXPECT_EQ(oriented(stored, 8), letters(2, 3, "cfbead"));
  EXPECT_THROW(oriented(stored, 9), InternalError);
}

// Larger than a tile on both sides: four quarter turns lead back.
TEST(Oriented, FourTurnsAreNone) {
  Image image{77, 45, Bytes(77 * 45 * 3)};
  for (size_t i = 0; i < image.rgb.size(); ++i) image.rgb[i] = static_cast<uint8_t>(i * 31 + i / 7);
  EXPECT_EQ(oriented(oriented(image, 6), 8), image);
  EXPECT_EQ(oriented(oriented(image, 6), 6), oriented(image, 3));
  EXPECT_EQ(oriented(oriented(image, 5), 5), image);
  EXPECT_EQ(oriented(oriented(image, 7), 7), image);
}

TEST(ExifOrientation, BothByteOrdersWithAndWithoutPrefix) {
  for (const bool big_endian : {false, true}) {
    for (int orientation = 1; orientation <= 8; ++orientation) {
      Bytes block = exif_block(big_endian, orientation);
      EXPECT_EQ(exif_orientation(view(block)), orientation);
      block.insert(block.begin(), {'E', 'x', 'i', 'f', 0, 0});
      EXPECT_EQ(exif_orientation(view(block)), orientation);
    }
  }
}

TEST(ExifOrientation, MalformedMeansAsStored) {
  EXPECT_EQ(exif_orientation({}), 1);
  EXPECT_EQ(exif_orientation(view(exif_block(true, 0))), 1);
  EXPECT_EQ(exif_orientation(view(exif_block(true, 9))), 1);
  const Bytes block = exif_block(false, 6);
  for (size_t size = 0; size < 20; ++size) {
    EXPECT_EQ(exif_orientation(view(Bytes(block.begin(), block.begin() + static_cast<int>(size)))),
              1)
        << size;
  }
  Bytes far = block;
  far[4] = far[5] = far[6] = far[7] = 0xff;  // the directory's offset
  EXPECT_EQ(exif_orientation(view(far)), 1);
  Bytes text = block;
  text[12] = 2;  // the value's type
  EXPECT_EQ(exif_orientation(view(text)), 1);
  Bytes other = block;
  other[2] = 43;  // the TIFF version
  EXPECT_EQ(exif_orientation(view(other)), 1);
}

}  // namespace
}  // namespace squint::image
