// Any bytes as an image file: decoded to the size it says, or refused with Error.
#include <cstdint>
#include <cstdlib>
#include <span>

#include "image/decode.h"
#include "squint/error.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace squint;
  const auto bytes = std::as_bytes(std::span(data, size));
  for (const auto alpha : {image::Alpha::drop, image::Alpha::white}) {
    try {
      const image::Image image =
          image::decode(bytes, "fuzz", {.alpha = alpha, .max_pixels = int64_t{1} << 16});
      const auto expected = static_cast<size_t>(image.width * image.height * 3);
      if (image.width < 1 || image.height < 1 || image.rgb.size() != expected) std::abort();
    } catch (const Error&) {
    }
  }
  return 0;
}
