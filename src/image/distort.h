// distort.h: what a scanner or a camera does to a page, a little of it.
#pragma once

#include "image/image.h"

namespace squint::image {

struct Distortion {
  double degrees = 0;     // turned by, about the middle; what comes in at the edges is the edge
  double contrast = 1;    // distance from mid-grey, multiplied
  double brightness = 0;  // added, of 255
  double blur = 0;        // 0 to 1: how much of a pixel is the mean of the 3x3 around it
};

Image distorted(const Image& image, const Distortion& how);

}  // namespace squint::image
