// decode.h: a whole image file to 8-bit RGB, as Pillow's open(...).convert("RGB") does it
// (spec qwen3-vl.md §2.2).
//
// JPEG, PNG, WebP, GIF, BMP and TIFF are told apart by content, never by name; of an animation or a
// document the first picture is taken. Channel values are those stored: no ICC profile, gamma or
// colour space is applied. JPEG uses the accurate integer inverse DCT and smooth chroma upsampling.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "image/image.h"

namespace squint::image {

enum class Alpha {
  drop,   // keep the stored colour of transparent pixels: parity with Hugging Face
  white,  // composite over white: what a viewer shows
};

// Pillow's limit against decompression bombs.
inline constexpr int64_t kMaxPixels = 178'956'970;

struct DecodeOptions {
  Alpha alpha = Alpha::drop;
  bool apply_orientation = true;  // rotate and mirror as the EXIF orientation says
  int64_t max_pixels = kMaxPixels;
};

// `bytes` is the whole file, `where` its name for messages. The pixel limit is checked against the
// header, before memory for pixels is allocated.
// Throws Error(bad_input): empty, truncated, damaged, not an image (the message says what it looks
// like), too many pixels, or a variant that is not read; Error(out_of_memory).
Image decode(std::span<const std::byte> bytes, std::string_view where,
             const DecodeOptions& options = {});

}  // namespace squint::image
