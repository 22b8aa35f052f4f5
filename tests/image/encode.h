// encode.h: small image files made in memory, for the variants that the fixtures do not have.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace squint::test {

using Bytes = std::vector<uint8_t>;

inline std::span<const std::byte> view(const Bytes& bytes) {
  return std::as_bytes(std::span(bytes));
}
inline std::span<const std::byte> view(const std::string& bytes) {
  return std::as_bytes(std::span(bytes));
}

// Little-endian numbers and raw bytes, one after the other.
class Writer {
 public:
  Writer& u8(int value);
  Writer& u16(uint32_t value);
  Writer& u32(uint32_t value);
  Writer& text(const std::string& bytes);  // without a terminator
  Writer& raw(const Bytes& bytes);
  const Bytes& bytes() const { return bytes_; }

 private:
  Bytes bytes_;
};

// Width, height and samples in the order of the file; 16-bit samples are big-endian.
struct PngSpec {
  int width, height;
  int color_type;  // PNG_COLOR_TYPE_...
  int bit_depth = 8;
  bool interlaced = false;
  Bytes palette = {};  // RGB triples
  Bytes palette_alpha = {};
  int orientation = 0;            // an eXIf chunk when not 0
  bool orientation_last = false;  // behind the pixels
};
Bytes encode_png(const PngSpec& spec, const Bytes& samples);

struct TiffSpec {
  uint32_t width, height;
  uint16_t photometric;  // PHOTOMETRIC_...
  uint16_t channels;
  uint16_t bits = 8;
  uint16_t compression = 1;  // COMPRESSION_...
  int extra_sample = -1;     // EXTRASAMPLE_...
  uint16_t orientation = 1;
  bool tiled = false;
};
// Samples in the order of the file; 16-bit ones little-endian.
Bytes encode_tiff(const TiffSpec& spec, const Bytes& samples);

struct JpegSpec {
  int width, height;
  int channels;  // 1, 3 or 4; 4 is CMYK with an Adobe marker
  int quality = 90;
  bool progressive = false;
};
Bytes encode_jpeg(const JpegSpec& spec, const Bytes& samples);

struct GifSpec {
  int screen_width, screen_height;
  int left = 0, top = 0, width, height;
  bool interlaced = false;
  int transparent = -1;
  Bytes palette;  // RGB triples, a power of two of them
  bool local_palette = false;
};
Bytes encode_gif(const GifSpec& spec, const Bytes& indices);

// Lossless, with the colour of transparent pixels kept.
Bytes encode_webp(int width, int height, const Bytes& rgba);

// An EXIF block with one tag.
Bytes exif_block(bool big_endian, int orientation);

}  // namespace squint::test
