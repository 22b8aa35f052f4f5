// image.h: a decoded picture, 8 bits per channel.
#pragma once

#include <cstdint>
#include <vector>

namespace squint::image {

struct Image {
  int64_t width = 0;
  int64_t height = 0;
  std::vector<uint8_t> rgb;  // [height, width, 3], stored values as they are: no colour management

  friend bool operator==(const Image&, const Image&) = default;
};

}  // namespace squint::image
