// orientation.h: the EXIF tag that says how a camera was held.
#pragma once

#include <cstddef>
#include <span>

#include "image/image.h"

namespace squint::image {

// The orientation, 1..8, from an EXIF block (a TIFF header and its first directory, with or without
// the "Exif\0\0" in front). 1, as stored, where the tag is absent or anything is malformed: a
// broken note about an image is no reason to refuse the image.
int exif_orientation(std::span<const std::byte> exif);

// The image turned upright. orientation in 1..8; 5..8 swap width and height.
Image oriented(Image image, int orientation);

}  // namespace squint::image
