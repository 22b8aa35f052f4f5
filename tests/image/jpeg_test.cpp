#include <gtest/gtest.h>

#include <string>

#include "image/decode.h"
#include "image/encode.h"
#include "squint/error.h"

namespace squint::image {
namespace {

using test::Bytes;
using test::view;

// A frame header with a number of channels that no colour model has.
TEST(Jpeg, TwoChannelsAreRefused) {
  test::Writer file;
  file.raw({0xff, 0xd8, 0xff, 0xc0, 0, 14, 8, 0, 8, 0, 8, 2, 1, 0x11, 0, 2, 0x11, 0});
  file.raw({0xff, 0xda, 0, 10, 2, 1, 0, 2, 0, 0, 63, 0, 0, 0, 0xff, 0xd9});
  EXPECT_THROW(decode(view(file.bytes()), "a.jpg"), Error);
}

TEST(Jpeg, GreyFillsAllChannels) {
  const Bytes samples(16 * 8, 77);
  const Image image =
      decode(view(test::encode_jpeg({.width = 16, .height = 8, .channels = 1}, samples)), "a.jpg");
  EXPECT_EQ(image, (Image{16, 8, Bytes(16 * 8 * 3, 77)}));
}

// Stored inverted: 255 is no ink. Half of black ink over full red light.
TEST(Jpeg, CmykIsInvertedInk) {
  Bytes samples;
  for (int i = 0; i < 64; ++i) samples.insert(samples.end(), {255, 0, 0, 128});
  const Image image = decode(
      view(test::encode_jpeg({.width = 8, .height = 8, .channels = 4, .quality = 100}, samples)),
      "a.jpg");
  EXPECT_EQ(Bytes(image.rgb.begin(), image.rgb.begin() + 3), (Bytes{128, 0, 0}));
}

// Without it there is no telling that the last scan was the last; Pillow refuses as well.
TEST(Jpeg, MissingEndMarkerOfAProgressiveFileIsTruncation) {
  Bytes samples(24 * 24 * 3);
  for (size_t i = 0; i < samples.size(); ++i) samples[i] = static_cast<uint8_t>(i * 7);
  Bytes file =
      test::encode_jpeg({.width = 24, .height = 24, .channels = 3, .progressive = true}, samples);
  ASSERT_EQ(file.back(), 0xd9);
  EXPECT_EQ(decode(view(file), "a.jpg").width, 24);
  file.resize(file.size() - 2);
  try {
    decode(view(file), "a.jpg");
    FAIL() << "a progressive file may have more scans to come";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("truncated"), std::string::npos) << error.what();
  }
}

// Thousands of empty refinement scans would each cost a pass over the image.
TEST(Jpeg, EndlessScansAreRefused) {
  Bytes samples(64 * 64 * 3, 100);
  const Bytes file =
      test::encode_jpeg({.width = 64, .height = 64, .channels = 3, .progressive = true}, samples);
  size_t last_scan = 0;
  for (size_t i = 0; i + 1 < file.size(); ++i) {
    if (file[i] == 0xff && file[i + 1] == 0xda) last_scan = i;
  }
  ASSERT_GT(last_scan, 0u);
  const Bytes scan(file.begin() + static_cast<std::ptrdiff_t>(last_scan), file.end() - 2);
  Bytes endless(file.begin(), file.end() - 2);
  for (int i = 0; i < 600; ++i) endless.insert(endless.end(), scan.begin(), scan.end());
  endless.insert(endless.end(), {0xff, 0xd9});
  try {
    decode(view(endless), "a.jpg");
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("scans"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace squint::image
