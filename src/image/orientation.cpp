#include "image/orientation.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <string_view>

#include "base/check.h"
#include "image/bytes.h"

namespace squint::image {
namespace {

constexpr uint32_t kOrientationTag = 0x0112;
constexpr uint32_t kShort = 3;
constexpr uint32_t kLong = 4;
constexpr uint64_t kEntryBytes = 12;

bool starts_with(std::span<const std::byte> bytes, std::string_view prefix) {
  return bytes.size() >= prefix.size() &&
         std::memcmp(bytes.data(), prefix.data(), prefix.size()) == 0;
}

// Where output pixel (x, y) comes from: input offset = origin + x * per_x + y * per_y, in pixels.
struct Walk {
  int64_t origin, per_x, per_y;
};

Walk walk_for(int orientation, int64_t width, int64_t height) {
  const int64_t right = width - 1;
  const int64_t bottom = (height - 1) * width;
  switch (orientation) {
    case 2:
      return {right, -1, width};
    case 3:
      return {bottom + right, -1, -width};
    case 4:
      return {bottom, 1, -width};
    case 5:
      return {0, width, 1};
    case 6:
      return {bottom, -width, 1};
    case 7:
      return {bottom + right, -width, -1};
    case 8:
      return {right, width, -1};
    default:
      return {0, 1, width};
  }
}

}  // namespace

int exif_orientation(std::span<const std::byte> exif) {
  constexpr std::string_view kPrefix("Exif\0\0", 6);
  if (starts_with(exif, kPrefix)) exif = exif.subspan(kPrefix.size());
  const bool big_endian = starts_with(exif, std::string_view("MM\0*", 4));
  if (!big_endian && !starts_with(exif, std::string_view("II*\0", 4))) return 1;

  const ByteView view(exif, big_endian);
  const uint64_t directory = view.u32(4).value_or(0);
  const uint64_t entries = view.u16(directory).value_or(0);
  for (uint64_t i = 0; i < entries; ++i) {
    const uint64_t at = directory + 2 + i * kEntryBytes;
    if (view.u16(at) != kOrientationTag) continue;
    const auto type = view.u16(at + 2);
    std::optional<uint32_t> value;
    if (type == kShort) value = view.u16(at + 8);
    if (type == kLong) value = view.u32(at + 8);
    return value >= 1u && value <= 8u ? static_cast<int>(*value) : 1;
  }
  return 1;
}

Image oriented(Image image, int orientation) {
  SQUINT_CHECK(orientation >= 1 && orientation <= 8);
  if (orientation == 1) return image;
  Image out;
  const bool swapped = orientation >= 5;
  out.width = swapped ? image.height : image.width;
  out.height = swapped ? image.width : image.height;
  out.rgb.resize(image.rgb.size());

  // In square tiles: rows of the output run down columns of the input, and one tile's lines fit the
  // cache.
  constexpr int64_t kTile = 32;
  const Walk walk = walk_for(orientation, image.width, image.height);
  for (int64_t y0 = 0; y0 < out.height; y0 += kTile) {
    for (int64_t x0 = 0; x0 < out.width; x0 += kTile) {
      for (int64_t y = y0; y < std::min(y0 + kTile, out.height); ++y) {
        uint8_t* to = out.rgb.data() + (y * out.width + x0) * 3;
        for (int64_t x = x0; x < std::min(x0 + kTile, out.width); ++x, to += 3) {
          const uint8_t* from =
              image.rgb.data() + (walk.origin + x * walk.per_x + y * walk.per_y) * 3;
          to[0] = from[0];
          to[1] = from[1];
          to[2] = from[2];
        }
      }
    }
  }
  return out;
}

}  // namespace squint::image
