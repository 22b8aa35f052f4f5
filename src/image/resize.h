// resize.h: the resampling that the model's preprocessing is defined by (spec qwen3-vl.md §2.4).
//
// Separable bicubic (a = -0.5) with antialiasing: the kernel widens when shrinking. Per axis
//
//     out[i] = clamp((Σ_j src[lo_i + j] * weight_ij + 2^(p-1)) >> p, 0, 255)
//
// with 16-bit integer weights of precision p; the result of the horizontal pass is stored in 8 bits
// before the vertical pass. Bit-exact with PyTorch's antialiased bicubic on unsigned 8-bit tensors.
#pragma once

#include <cstdint>

#include "image/image.h"

namespace squint::image {

// width, height >= 1; the image is not empty. An axis whose length does not change is left alone.
Image resize_bicubic(const Image& image, int64_t width, int64_t height);

}  // namespace squint::image
