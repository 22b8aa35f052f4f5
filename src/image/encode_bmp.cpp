#include "image/encode_bmp.h"

#include "squint/error.h"

namespace squint::image {
namespace {

constexpr int64_t kHeaderBytes = 54;

void put(std::string& out, int64_t value, int bytes) {
  for (int i = 0; i < bytes; ++i) out.push_back(static_cast<char>(value >> (8 * i)));
}

}  // namespace

std::string encode_bmp(const Image& image) {
  const int64_t stride = (image.width * 3 + 3) / 4 * 4;
  const int64_t pixels = stride * image.height;
  if (pixels > INT32_MAX - kHeaderBytes) {
    throw Error(ErrorCode::unsupported, "an image of more than 2 GiB does not fit into a BMP file");
  }
  std::string out = "BM";
  put(out, kHeaderBytes + pixels, 4);
  put(out, 0, 4);
  put(out, kHeaderBytes, 4);
  put(out, 40, 4);  // BITMAPINFOHEADER
  put(out, image.width, 4);
  put(out, image.height, 4);  // positive: the last row comes first
  put(out, 1, 2);
  put(out, 24, 2);
  for (int i = 0; i < 6; ++i) put(out, 0, 4);
  for (int64_t y = image.height; y-- > 0;) {
    const uint8_t* row = image.rgb.data() + y * image.width * 3;
    for (int64_t x = 0; x < image.width; ++x) {
      for (int c = 2; c >= 0; --c) out.push_back(static_cast<char>(row[x * 3 + c]));
    }
    out.append(static_cast<size_t>(stride - image.width * 3), '\0');
  }
  return out;
}

}  // namespace squint::image
