// codec.h: what the readers of the single formats share; private to this room.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "image/decode.h"
#include "image/image.h"

namespace squint::image {

struct Source {
  std::span<const std::byte> bytes;
  std::string_view where;
  std::string_view format;  // "JPEG"
  const DecodeOptions* options;

  const uint8_t* data() const { return reinterpret_cast<const uint8_t*>(bytes.data()); }
  size_t size() const { return bytes.size(); }
};

struct Decoded {
  Image image;
  int orientation = 1;  // as EXIF counts, 1..8; not yet applied
};

// Each takes a file that starts with its format's signature and throws Error(bad_input).
Decoded decode_jpeg(const Source& source);
Decoded decode_png(const Source& source);
Decoded decode_webp(const Source& source);
Decoded decode_gif(const Source& source);
Decoded decode_bmp(const Source& source);
Decoded decode_tiff(const Source& source);

// "photo.jpg: damaged JPEG: <reason>"
[[noreturn]] void fail_damaged(const Source& source, std::string_view reason);
[[noreturn]] void fail_truncated(const Source& source);
// A legal file of a kind that is not read.
[[noreturn]] void fail_variant(const Source& source, std::string_view variant);

// A zeroed image, after checking that both sides are positive and within options.max_pixels.
Image make_image(const Source& source, int64_t width, int64_t height);
// The check alone, for readers that allocate before they have an image.
void check_size(const Source& source, int64_t width, int64_t height);

// a / 255, rounded, for 0 <= a <= 255 * 255: Pillow's formula.
inline uint8_t div255(int a) { return static_cast<uint8_t>((((a + 128) >> 8) + a + 128) >> 8); }

// One pixel with straight (not premultiplied) alpha.
inline void store_rgba(const uint8_t* rgba, Alpha alpha, uint8_t* rgb) {
  for (int c = 0; c < 3; ++c) {
    rgb[c] = alpha == Alpha::drop ? rgba[c] : div255(rgba[c] * rgba[3] + 255 * (255 - rgba[3]));
  }
}

}  // namespace squint::image
