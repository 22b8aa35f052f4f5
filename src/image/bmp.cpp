// bmp.cpp: Windows and OS/2 bitmaps: 1, 4, 8, 16, 24 and 32 bits per pixel, palettes, bit fields
// and run-length coding. Read by hand: the format is small, and a file that ends early must be told
// from a whole one.
#include <algorithm>
#include <array>
#include <bit>
#include <optional>
#include <utility>
#include <vector>

#include "base/checked_math.h"
#include "image/bytes.h"
#include "image/codec.h"

namespace squint::image {
namespace {

constexpr int64_t kFileHeader = 14;
constexpr uint32_t kCoreHeader = 12;  // OS/2 1.x: 16-bit sizes, palette entries of three bytes
constexpr uint32_t kInfoHeader = 40;

enum Compression : uint32_t { rgb = 0, rle8 = 1, rle4 = 2, bit_fields = 3, alpha_bit_fields = 6 };

struct Header {
  int64_t width = 0, height = 0;
  bool top_down = false;
  uint32_t bits = 0;
  uint32_t compression = Compression::rgb;
  int64_t pixels_at = 0;
  std::array<uint32_t, 4> masks{};         // red, green, blue, alpha
  std::array<uint8_t, 256 * 4> palette{};  // RGBA
};

uint32_t need(const Source& source, std::optional<uint32_t> value) {
  if (!value) fail_truncated(source);
  return *value;
}

void read_palette(const Source& source, int64_t at, uint32_t claimed, int entry_bytes,
                  Header& header) {
  const uint32_t most = 1u << header.bits;
  const uint32_t count = claimed == 0 ? most : std::min(claimed, most);
  for (uint32_t i = 0; i < most; ++i) header.palette[i * 4 + 3] = 255;
  if (at + int64_t{count} * entry_bytes > static_cast<int64_t>(source.size())) {
    fail_truncated(source);
  }
  for (uint32_t i = 0; i < count; ++i) {
    const uint8_t* bgr = source.data() + at + int64_t{i} * entry_bytes;
    for (int c = 0; c < 3; ++c) header.palette[i * 4 + c] = bgr[2 - c];
  }
}

void check_supported(const Source& source, uint32_t header_bytes, const Header& header) {
  const uint32_t bits = header.bits;
  const uint32_t compression = header.compression;
  if (bits != 1 && bits != 4 && bits != 8 && bits != 16 && bits != 24 && bits != 32) {
    fail_damaged(source, "its number of bits per pixel is none of 1, 4, 8, 16, 24, 32");
  }
  const bool fields =
      compression == Compression::bit_fields || compression == Compression::alpha_bit_fields;
  const bool known = compression == Compression::rgb ||
                     (compression == Compression::rle8 && bits == 8) ||
                     (compression == Compression::rle4 && bits == 4) ||
                     (fields && header_bytes >= kInfoHeader && (bits == 16 || bits == 32));
  if (!known) fail_variant(source, "a BMP with this compression");
}

// Where the palette starts.
int64_t read_masks(const Source& source, const ByteView& view, uint32_t header_bytes,
                   Header& header) {
  const bool plain = header.compression == Compression::rgb;
  if (header.bits == 16 && plain) header.masks = {0x7c00, 0x03e0, 0x001f, 0};
  if (header.bits == 32 && plain) header.masks = {0x00ff0000, 0x0000ff00, 0x000000ff, 0};
  const int64_t end = kFileHeader + int64_t{header_bytes};
  if (plain || header.bits < 16) return end;
  // The short header is followed by its masks, longer ones hold them at the same place.
  const bool has_alpha = header_bytes >= 56 || header.compression == Compression::alpha_bit_fields;
  const int count = has_alpha ? 4 : 3;
  for (int c = 0; c < count; ++c) {
    header.masks[c] = need(source, view.u32(kFileHeader + kInfoHeader + 4 * c));
  }
  return std::max<int64_t>(end, kFileHeader + kInfoHeader + 4 * count);
}

Header read_header(const Source& source) {
  const ByteView view(source.bytes, /*big_endian=*/false);
  Header header;
  header.pixels_at = need(source, view.u32(10));
  const uint32_t header_bytes = need(source, view.u32(kFileHeader));
  uint32_t colors = 0;
  if (header_bytes == kCoreHeader) {
    header.width = need(source, view.u16(18));
    header.height = need(source, view.u16(20));
    header.bits = need(source, view.u16(24));
  } else if (header_bytes >= kInfoHeader && header_bytes <= 124) {
    header.width = static_cast<int32_t>(need(source, view.u32(18)));
    const int64_t height = static_cast<int32_t>(need(source, view.u32(22)));
    header.top_down = height < 0;
    header.height = height < 0 ? -height : height;
    header.bits = need(source, view.u16(28));
    header.compression = need(source, view.u32(30));
    colors = need(source, view.u32(46));
  } else {
    fail_damaged(source, "its header has an unknown length");
  }
  check_size(source, header.width, header.height);
  check_supported(source, header_bytes, header);
  const int64_t palette_at = read_masks(source, view, header_bytes, header);
  if (header.bits <= 8) {
    read_palette(source, palette_at, colors, header_bytes == kCoreHeader ? 3 : 4, header);
  }
  return header;
}

uint8_t field(uint32_t pixel, uint32_t mask) {
  if (mask == 0) return 0;
  const int shift = std::countr_zero(mask);
  return static_cast<uint8_t>(uint64_t{(pixel & mask) >> shift} * 255 / (mask >> shift));
}

void store_row(const Header& header, const uint8_t* row, Alpha alpha, uint8_t* rgb) {
  for (int64_t x = 0; x < header.width; ++x, rgb += 3) {
    if (header.bits == 24) {
      for (int c = 0; c < 3; ++c) rgb[c] = row[x * 3 + 2 - c];
    } else if (header.bits >= 16) {
      const int64_t bytes = header.bits / 8;
      uint32_t pixel = 0;
      for (int64_t i = bytes - 1; i >= 0; --i) pixel = pixel << 8 | row[x * bytes + i];
      uint8_t rgba[4] = {0, 0, 0, 255};
      for (int c = 0; c < 4; ++c) {
        if (c < 3 || header.masks[3] != 0) rgba[c] = field(pixel, header.masks[c]);
      }
      store_rgba(rgba, alpha, rgb);
    } else {
      const int64_t bit = x * header.bits;
      const int shift = static_cast<int>(8 - header.bits - bit % 8);
      const int index = (row[bit / 8] >> shift) & ((1 << header.bits) - 1);
      store_rgba(header.palette.data() + index * 4, alpha, rgb);
    }
  }
}

// One run-length coded file into palette indices, rows in the order of the file. Pixels that the
// file jumps over keep index 0.
class RunReader {
 public:
  RunReader(const Source& source, const Header& header)
      : source_(source), header_(header), at_(header.pixels_at) {
    indices_.resize(static_cast<size_t>(header.width * header.height));
  }

  std::vector<uint8_t> read() {
    while (y_ < header_.height) {
      const int count = next();
      const int code = next();
      if (count > 0) {
        for (int i = 0; i < count; ++i) put(nibble(code, i));
      } else if (code == 0) {
        x_ = 0;
        ++y_;
      } else if (code == 1) {
        break;
      } else if (code == 2) {
        x_ += next();
        y_ += next();
      } else {
        read_literal(code);
      }
    }
    return std::move(indices_);
  }

 private:
  int next() {
    if (at_ >= static_cast<int64_t>(source_.size())) fail_truncated(source_);
    return source_.data()[at_++];
  }
  // The i-th pixel of a byte: the byte itself, or with 4 bits its halves in turn.
  int nibble(int byte, int i) const {
    if (header_.bits == 8) return byte;
    return i % 2 == 0 ? byte >> 4 : byte & 15;
  }
  void read_literal(int count) {
    const int per_byte = header_.bits == 8 ? 1 : 2;
    int byte = 0;
    for (int i = 0; i < count; ++i) {
      if (i % per_byte == 0) byte = next();
      put(nibble(byte, i));
    }
    if ((count + per_byte - 1) / per_byte % 2 != 0) next();  // literals are padded to 16 bits
  }
  void put(int index) {
    if (x_ >= header_.width || y_ >= header_.height) return;
    indices_[static_cast<size_t>(y_ * header_.width + x_++)] = static_cast<uint8_t>(index);
  }

  const Source& source_;
  const Header& header_;
  int64_t at_;
  int64_t x_ = 0, y_ = 0;
  std::vector<uint8_t> indices_;
};

}  // namespace

Decoded decode_bmp(const Source& source) {
  Header header = read_header(source);
  const bool runs =
      header.compression == Compression::rle8 || header.compression == Compression::rle4;
  std::vector<uint8_t> indices;
  const uint8_t* pixels = nullptr;
  int64_t stride = header.width;
  if (runs) {
    indices = RunReader(source, header).read();
    pixels = indices.data();
    header.bits = 8;
  } else {
    stride = ceil_div(header.width * header.bits, 32) * 4;
    const auto end = checked_add(header.pixels_at, stride * header.height);
    if (!end || *end > static_cast<int64_t>(source.size())) fail_truncated(source);
    pixels = source.data() + header.pixels_at;
  }
  Decoded out;
  out.image = make_image(source, header.width, header.height);
  for (int64_t y = 0; y < header.height; ++y) {
    const int64_t row = header.top_down ? y : header.height - 1 - y;
    store_row(header, pixels + row * stride, source.options->alpha,
              out.image.rgb.data() + y * header.width * 3);
  }
  return out;
}

}  // namespace squint::image
