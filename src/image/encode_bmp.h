// encode_bmp.h: an image as a file that any decoder reads, without loss and at no cost.
#pragma once

#include <string>

#include "image/image.h"

namespace squint::image {

// 24 bits per pixel, no compression. Throws Error(unsupported) for images of more than 2 GiB.
std::string encode_bmp(const Image& image);

}  // namespace squint::image
