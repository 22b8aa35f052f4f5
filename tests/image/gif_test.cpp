#include <gtest/gtest.h>

#include "image/decode.h"
#include "image/encode.h"

namespace squint::image {
namespace {

using test::Bytes;
using test::GifSpec;
using test::view;

const Bytes kPalette = {0, 0, 0, 10, 20, 30, 40, 50, 60, 70, 80, 90};

Image read(const GifSpec& spec, const Bytes& indices, Alpha alpha = Alpha::drop) {
  return decode(view(test::encode_gif(spec, indices)), "a.gif", {.alpha = alpha});
}

TEST(Gif, InterlacedIsTheSameImage) {
  Bytes indices;
  for (int i = 0; i < 5 * 19; ++i) indices.push_back(static_cast<uint8_t>(i * i % 4));
  GifSpec spec{
      .screen_width = 5, .screen_height = 19, .width = 5, .height = 19, .palette = kPalette};
  const Image plain = read(spec, indices);
  for (size_t i = 0; i < indices.size(); ++i) {
    ASSERT_EQ(plain.rgb[i * 3], kPalette[indices[i] * 3u]) << i;
  }
  spec.interlaced = true;
  EXPECT_EQ(read(spec, indices), plain);
}

TEST(Gif, SmallFrameLiesOnTheScreen) {
  const GifSpec spec{.screen_width = 3,
                     .screen_height = 2,
                     .left = 1,
                     .top = 1,
                     .width = 2,
                     .height = 1,
                     .transparent = 3,
                     .palette = kPalette};
  // Around the frame is the transparent colour.
  EXPECT_EQ(read(spec, {1, 3}).rgb, (Bytes{70, 80, 90, 70, 80, 90, 70, 80, 90,  //
                                           70, 80, 90, 10, 20, 30, 70, 80, 90}));
  EXPECT_EQ(read(spec, {1, 3}, Alpha::white).rgb,
            (Bytes{255, 255, 255, 255, 255, 255, 255, 255, 255,  //
                   255, 255, 255, 10, 20, 30, 255, 255, 255}));
}

TEST(Gif, LargeFrameEnlargesTheScreen) {
  const GifSpec spec{.screen_width = 1,
                     .screen_height = 1,
                     .left = 1,
                     .width = 2,
                     .height = 2,
                     .palette = kPalette};
  const Image image = read(spec, {1, 1, 1, 1});
  EXPECT_EQ(image.width, 3);
  EXPECT_EQ(image.height, 2);
}

TEST(Gif, LocalPaletteAndNoPalette) {
  GifSpec spec{.screen_width = 1,
               .screen_height = 1,
               .width = 1,
               .height = 1,
               .palette = kPalette,
               .local_palette = true};
  EXPECT_EQ(read(spec, {2}).rgb, (Bytes{40, 50, 60}));
  // Without a palette an index is a grey level. The flags of a file with one say where it was.
  Bytes file = test::encode_gif(spec, {2});
  const size_t frame = 13;
  ASSERT_EQ(file[frame], ',');
  ASSERT_NE(file[frame + 9] & 0x80, 0);
  file[frame + 9] &= 0x7f;
  file.erase(file.begin() + frame + 10, file.begin() + frame + 10 + 12);
  EXPECT_EQ(decode(view(file), "a.gif").rgb, (Bytes{2, 2, 2}));
}

}  // namespace
}  // namespace squint::image
