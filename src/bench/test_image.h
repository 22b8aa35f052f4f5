// test_image.h: a picture to encode: lines of dark marks on light ground, the same every time.
#pragma once

#include <cstdint>
#include <string>

namespace squint::bench {

// As the bytes of an image file, without loss. Sides of 1 to 16384 pixels.
std::string test_image(int64_t width, int64_t height);

}  // namespace squint::bench
