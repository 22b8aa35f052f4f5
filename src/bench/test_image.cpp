#include "bench/test_image.h"

#include "image/encode_bmp.h"

namespace squint::bench {

std::string test_image(int64_t width, int64_t height) {
  image::Image image;
  image.width = static_cast<int>(width);
  image.height = static_cast<int>(height);
  image.rgb.resize(static_cast<size_t>(width * height * 3));
  size_t at = 0;
  for (int64_t y = 0; y < height; ++y) {
    for (int64_t x = 0; x < width; ++x) {
      // 16 x 24 cells with a mark whose shape comes from the cell's place.
      const int64_t cell = (x / 16) * 31 + (y / 24) * 17;
      const bool inside = x % 16 >= 3 && x % 16 < 13 && y % 24 >= 4 && y % 24 < 20;
      const bool mark = inside && ((x % 16 / 3 + y % 24 / 4 * 5) * (cell + 3)) % 7 < 3;
      const auto shade = static_cast<uint8_t>(mark ? 30 + x * 40 / width : 235 - y * 30 / height);
      for (int c = 0; c < 3; ++c) image.rgb[at++] = shade;
    }
  }
  return image::encode_bmp(image);
}

}  // namespace squint::bench
