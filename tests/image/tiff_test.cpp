#include <gtest/gtest.h>
#include <tiffio.h>

#include <string>

#include "image/decode.h"
#include "image/encode.h"
#include "squint/error.h"

namespace squint::image {
namespace {

using test::Bytes;
using test::TiffSpec;
using test::view;

Image read(const TiffSpec& spec, const Bytes& samples, const DecodeOptions& options = {}) {
  return decode(view(test::encode_tiff(spec, samples)), "a.tiff", options);
}

Bytes ramp(int count) {
  Bytes out;
  for (int i = 0; i < count; ++i) out.push_back(static_cast<uint8_t>(i * 37 + i / 8 * 11));
  return out;
}

TEST(Tiff, CompressionsAndTilesAreTheSameImage) {
  TiffSpec spec{.width = 7, .height = 5, .photometric = PHOTOMETRIC_RGB, .channels = 3};
  const Bytes samples = ramp(7 * 5 * 3);
  for (const uint16_t compression :
       {COMPRESSION_NONE, COMPRESSION_LZW, COMPRESSION_ADOBE_DEFLATE, COMPRESSION_PACKBITS}) {
    spec.compression = compression;
    for (const bool tiled : {false, true}) {
      spec.tiled = tiled;
      EXPECT_EQ(read(spec, samples), (Image{7, 5, samples})) << compression << " " << tiled;
    }
  }
}

TEST(Tiff, OrientationIsApplied) {
  TiffSpec spec{
      .width = 2, .height = 1, .photometric = PHOTOMETRIC_RGB, .channels = 3, .orientation = 6};
  const Bytes samples = {1, 2, 3, 4, 5, 6};
  EXPECT_EQ(read(spec, samples), (Image{1, 2, samples}));
  EXPECT_EQ(read(spec, samples, {.apply_orientation = false}), (Image{2, 1, samples}));
  spec.orientation = 3;
  EXPECT_EQ(read(spec, samples), (Image{2, 1, {4, 5, 6, 1, 2, 3}}));
}

TEST(Tiff, StraightAlphaKeepsTheStoredColour) {
  const TiffSpec spec{.width = 2,
                      .height = 1,
                      .photometric = PHOTOMETRIC_RGB,
                      .channels = 4,
                      .extra_sample = EXTRASAMPLE_UNASSALPHA};
  const Bytes samples = {10, 20, 30, 0, 100, 0, 200, 51};
  EXPECT_EQ(read(spec, samples).rgb, (Bytes{10, 20, 30, 100, 0, 200}));
  EXPECT_EQ(read(spec, samples, {.alpha = Alpha::white}).rgb,
            (Bytes{255, 255, 255, 224, 204, 244}));
}

TEST(Tiff, PremultipliedAlphaIsDivided) {
  const TiffSpec spec{.width = 2,
                      .height = 1,
                      .photometric = PHOTOMETRIC_RGB,
                      .channels = 4,
                      .extra_sample = EXTRASAMPLE_ASSOCALPHA};
  EXPECT_EQ(read(spec, {20, 0, 40, 51, 1, 2, 3, 0}).rgb, (Bytes{100, 0, 200, 1, 2, 3}));
}

TEST(Tiff, GreyIsInvertedWhereZeroIsWhite) {
  TiffSpec spec{.width = 2, .height = 1, .photometric = PHOTOMETRIC_MINISBLACK, .channels = 1};
  EXPECT_EQ(read(spec, {0, 200}).rgb, (Bytes{0, 0, 0, 200, 200, 200}));
  spec.photometric = PHOTOMETRIC_MINISWHITE;
  EXPECT_EQ(read(spec, {0, 200}).rgb, (Bytes{255, 255, 255, 55, 55, 55}));
}

TEST(Tiff, WideGreyIsClipped) {
  TiffSpec spec{
      .width = 2, .height = 1, .photometric = PHOTOMETRIC_MINISBLACK, .channels = 1, .bits = 16};
  EXPECT_EQ(read(spec, {7, 0, 0, 1}).rgb, (Bytes{7, 7, 7, 255, 255, 255}));
  spec.tiled = true;
  EXPECT_THROW(read(spec, {7, 0, 0, 1}), Error);
}

TEST(Tiff, UnreadableKindsAreRefused) {
  const TiffSpec spec{
      .width = 2, .height = 1, .photometric = PHOTOMETRIC_MINISBLACK, .channels = 1, .bits = 32};
  try {
    read(spec, Bytes(8, 0));
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::bad_input);
    EXPECT_NE(std::string(error.what()).find("PNG or JPEG"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace squint::image
