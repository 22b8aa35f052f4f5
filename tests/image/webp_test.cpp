#include <gtest/gtest.h>

#include "image/decode.h"
#include "image/encode.h"

namespace squint::image {
namespace {

using test::Bytes;
using test::view;
using test::Writer;

Writer& u24(Writer& writer, uint32_t value) {
  return writer.u16(value & 65535).u8(static_cast<int>(value >> 16));
}

// The pixels of a simple file, as a chunk.
Bytes chunk_of(const Bytes& webp) { return {webp.begin() + 12, webp.end()}; }

Bytes riff(const Bytes& chunks) {
  Writer out;
  out.text("RIFF").u32(static_cast<uint32_t>(chunks.size()) + 4).text("WEBP").raw(chunks);
  return out.bytes();
}

TEST(Webp, AlphaIsDroppedOrLaidOverWhite) {
  const Bytes file = test::encode_webp(2, 1, {10, 20, 30, 0, 100, 0, 200, 51});
  EXPECT_EQ(decode(view(file), "a.webp").rgb, (Bytes{10, 20, 30, 100, 0, 200}));
  EXPECT_EQ(decode(view(file), "a.webp", {.alpha = Alpha::white}).rgb,
            (Bytes{255, 255, 255, 224, 204, 244}));
}

TEST(Webp, OrientationFromItsExifChunk) {
  Writer chunks;
  chunks.text("VP8X").u32(10).u32(0x08);  // flag: EXIF
  u24(chunks, 1);
  u24(chunks, 0);
  chunks.raw(chunk_of(test::encode_webp(2, 1, {1, 2, 3, 255, 4, 5, 6, 255})));
  const Bytes exif = test::exif_block(/*big_endian=*/false, 3);
  chunks.text("EXIF").u32(static_cast<uint32_t>(exif.size())).raw(exif);
  const Bytes file = riff(chunks.bytes());
  EXPECT_EQ(decode(view(file), "a.webp").rgb, (Bytes{4, 5, 6, 1, 2, 3}));
  EXPECT_EQ(decode(view(file), "a.webp", {.apply_orientation = false}).rgb,
            (Bytes{1, 2, 3, 4, 5, 6}));
}

TEST(Webp, FirstFrameOfAnAnimationOnItsCanvas) {
  const auto frame = [](uint32_t x, int level) {
    const auto v = static_cast<uint8_t>(level);
    const Bytes pixels = chunk_of(test::encode_webp(1, 1, {v, v, v, 255}));
    Writer out;
    out.text("ANMF").u32(static_cast<uint32_t>(pixels.size()) + 16);
    u24(out, x / 2);
    u24(out, 0);
    u24(out, 0);
    u24(out, 0);
    u24(out, 100);
    return out.u8(0).raw(pixels).bytes();
  };
  Writer chunks;
  chunks.text("VP8X").u32(10).u32(0x02);  // flag: animation
  u24(chunks, 2);
  u24(chunks, 0);
  chunks.text("ANIM").u32(6).u32(0).u16(0);
  const Bytes file = riff(chunks.raw(frame(2, 50)).raw(frame(0, 90)).bytes());
  EXPECT_EQ(decode(view(file), "a.webp").rgb, (Bytes{0, 0, 0, 0, 0, 0, 50, 50, 50}));
  EXPECT_EQ(decode(view(file), "a.webp", {.alpha = Alpha::white}).rgb,
            (Bytes{255, 255, 255, 255, 255, 255, 50, 50, 50}));
}

}  // namespace
}  // namespace squint::image
