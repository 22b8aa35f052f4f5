#include "image/decode.h"

#include <gtest/gtest.h>
#include <openssl/sha.h>
#include <png.h>
#include <zlib.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "image/encode.h"
#include "squint/error.h"
#include "support/json.h"
#include "support/paths.h"

namespace squint::image {
namespace {

using test::Bytes;
using test::view;
using test::Writer;

std::string data_file(const std::string& name) {
  return test::read_text(test::repo_dir() / "tests/data/images" / name);
}

std::string sha256(std::span<const uint8_t> bytes) {
  unsigned char digest[SHA256_DIGEST_LENGTH];
  SHA256(bytes.data(), bytes.size(), digest);
  std::string hex;
  for (const unsigned char byte : digest) {
    hex += "0123456789abcdef"[byte >> 4];
    hex += "0123456789abcdef"[byte & 15];
  }
  return hex;
}

// The message of the Error(bad_input) that decoding throws; empty where it throws none.
std::string refusal(std::span<const std::byte> bytes, const DecodeOptions& options = {}) {
  try {
    decode(bytes, "scan.png", options);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::bad_input) << error.what();
    return error.what();
  }
  return "";
}

void expect_contains(const std::string& text, const std::string& part) {
  EXPECT_NE(text.find(part), std::string::npos) << "\"" << text << "\" lacks \"" << part << "\"";
}

// Byte for byte what the reference decodes, for every kind of file there is a fixture for.
TEST(Decode, FixturesAreIdenticalToTheReference) {
  const auto expected = test::json_of(data_file("expected.json"));
  int compared = 0;
  for (const auto& [name, row] : expected.items()) {
    const std::string file = data_file(name);
    for (const char* kind : {"rgb", "upright"}) {
      if (!row.contains(kind)) continue;
      const bool upright = std::string(kind) == "upright";
      const Image image = decode(view(file), name, {.apply_orientation = upright});
      EXPECT_EQ(image.height, row[kind]["shape"][0]) << name << " " << kind;
      EXPECT_EQ(image.width, row[kind]["shape"][1]) << name << " " << kind;
      EXPECT_EQ(sha256(image.rgb), row[kind]["sha256"]) << name << " " << kind;
      ++compared;
    }
  }
  EXPECT_EQ(compared, 35);
}

TEST(Decode, OrientationIsAppliedUnlessDeclined) {
  const std::string file = data_file("exif6.jpg");
  const Image upright = decode(view(file), "exif6.jpg");
  EXPECT_EQ(upright.width, 64);
  EXPECT_EQ(upright.height, 320);
  EXPECT_EQ(decode(view(file), "exif6.jpg", {.apply_orientation = false}).width, 320);
}

TEST(Decode, EmptyFile) {
  const std::string message = refusal({});
  expect_contains(message, "scan.png: ");
  expect_contains(message, "empty");
}

TEST(Decode, SaysWhatTheFileIsInstead) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"just a note\nof two lines\n", "plain text"},
      {"BMW and other cars", "plain text"},
      {"RIFF raff", "plain text"},
      {"\n<!DOCTYPE html><html><body>404</body></html>", "HTML page"},
      {"<?xml version=\"1.0\"?>\n<svg xmlns=\"x\"/>", "SVG"},
      {"version https://git-lfs.github.com/spec/v1\noid sha256:0", "Git LFS pointer"},
      {"%PDF-1.7\n", "PDF"},
      {std::string("PK\x03\x04\0\0", 6), "ZIP"},
      {std::string("\x1f\x8b\x08\0\0", 5), "gzip"},
      {std::string("\0\0\0\x20", 4) + "ftypheic", "HEIC"},
      {std::string("\0\0\0\x20", 4) + "ftypavif", "AVIF"},
      {std::string("\0\0\0\x20", 4) + "ftypisom", "video"},
      {std::string("\0\x01\x02\x7f", 4), "00 01 02 7f"},
      {std::string("RIFF\x04\0\0\0WAVE", 12), "unknown data"},
  };
  for (const auto& [file, what] : cases) expect_contains(refusal(view(file)), what);
}

TEST(Decode, ContentDecidesNotTheName) {
  const std::string jpeg = data_file("gray.jpg");
  EXPECT_EQ(decode(view(jpeg), "gray.png").width, 256);
}

// Cut anywhere in the first nine tenths, a file of any format is refused, and where the format is
// still recognisable the message says that it is cut.
TEST(Decode, TruncatedFiles) {
  for (const char* name : {"q95.jpg", "progressive.jpg", "cmyk.jpg", "rgb.png", "palette.png",
                           "lossy.webp", "lossless.webp", "x.gif", "x.bmp", "x.tiff"}) {
    const std::string file = data_file(name);
    for (int tenths = 0; tenths <= 9; ++tenths) {
      const size_t size = std::max<size_t>(file.size() * static_cast<size_t>(tenths) / 10, 20);
      const std::string message = refusal(view(file.substr(0, size)));
      EXPECT_NE(message, "") << name << " cut to " << size << " bytes";
      if (tenths > 0) expect_contains(message, "truncated");
    }
  }
}

TEST(Decode, GarbageAfterTheHeader) {
  for (const char* name : {"rgb.png", "lossless.webp", "x.gif", "x.tiff"}) {
    std::string file = data_file(name);
    for (size_t i = 16; i < file.size(); ++i) file[i] = static_cast<char>(i * 2654435761u >> 13);
    EXPECT_NE(refusal(view(file)), "") << name;
  }
  std::string jpeg = data_file("q95.jpg").substr(0, 4);
  jpeg.append(1000, '\x5a');
  EXPECT_NE(refusal(view(jpeg)), "");
}

// Headers that claim 40,000 x 40,000 pixels, without the pixels.
std::string huge_png() {
  const Bytes png =
      test::encode_png({.width = 1, .height = 1, .color_type = PNG_COLOR_TYPE_RGB}, Bytes{1, 2, 3});
  // Signature, IHDR with both sizes and its checksum replaced, the rest as it was.
  std::string file(png.begin(), png.end());
  file.replace(16, 8, std::string("\0\0\x9c\x40\0\0\x9c\x40", 8));
  const auto crc =
      static_cast<uint32_t>(crc32(0, reinterpret_cast<const Bytef*>(file.data()) + 12, 17));
  for (int i = 0; i < 4; ++i)
    file[29 + static_cast<size_t>(i)] = static_cast<char>(crc >> (24 - 8 * i));
  return file;
}

std::string huge_jpeg() {
  std::string file = data_file("q95.jpg");
  const size_t frame = file.find("\xff\xc0");
  EXPECT_NE(frame, std::string::npos);
  return file.replace(frame + 5, 4, "\x9c\x40\x9c\x40");
}

std::string huge_bmp() {
  std::string file = data_file("x.bmp");
  return file.replace(18, 8, std::string("\x40\x9c\0\0\x40\x9c\0\0", 8));
}

std::string huge_tiff() {
  Writer file;
  file.text("II").u16(42).u32(8).u16(5);
  file.u16(256).u16(4).u32(1).u32(40000).u16(257).u16(4).u32(1).u32(40000);
  file.u16(258).u16(3).u32(1).u32(8);
  file.u16(273).u16(4).u32(1).u32(8).u16(279).u16(4).u32(1).u32(8).u32(0);
  return {file.bytes().begin(), file.bytes().end()};
}

std::string huge_gif() {
  std::string file = data_file("x.gif");
  return file.replace(6, 4, "\x40\x9c\x40\x9c");
}

TEST(Decode, HugeHeadersAreRefusedBeforeAllocating) {
  for (const std::string& file : {huge_png(), huge_jpeg(), huge_bmp(), huge_tiff(), huge_gif()}) {
    const std::string message = refusal(view(file));
    expect_contains(message, "40000x40000");
    expect_contains(message, "at most 178956970 pixels");
  }
}

TEST(Decode, PixelLimitIsInclusive) {
  for (const char* name : {"q95.jpg", "rgb.png", "lossy.webp", "x.gif", "x.bmp", "x.tiff"}) {
    const std::string file = data_file(name);
    EXPECT_EQ(decode(view(file), name, {.max_pixels = 256 * 192}).height, 192) << name;
    expect_contains(refusal(view(file), {.max_pixels = 256 * 192 - 1}), "at most 49151 pixels");
  }
}

TEST(Decode, ZeroWidth) {
  std::string bmp = data_file("x.bmp");
  bmp.replace(18, 4, std::string(4, '\0'));
  expect_contains(refusal(view(bmp)), "0x192");
  std::string jpeg = data_file("q95.jpg");
  jpeg.replace(jpeg.find("\xff\xc0") + 7, 2, std::string(2, '\0'));
  EXPECT_NE(refusal(view(jpeg)), "");
  std::string png = data_file("rgb.png");
  png.replace(16, 4, std::string(4, '\0'));
  EXPECT_NE(refusal(view(png)), "");
}

}  // namespace
}  // namespace squint::image
