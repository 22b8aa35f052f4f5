#include "image/distort.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace squint::image {
namespace {

// The nearest pixel that there is.
const uint8_t* pixel(const Image& image, int64_t x, int64_t y) {
  x = std::clamp<int64_t>(x, 0, image.width - 1);
  y = std::clamp<int64_t>(y, 0, image.height - 1);
  return image.rgb.data() + (y * image.width + x) * 3;
}

double between_pixels(const Image& image, double x, double y, int channel) {
  const auto left = static_cast<int64_t>(std::floor(x));
  const auto top = static_cast<int64_t>(std::floor(y));
  const double right_share = x - static_cast<double>(left);
  const double bottom_share = y - static_cast<double>(top);
  const auto row = [&](int64_t at) {
    return std::lerp(static_cast<double>(pixel(image, left, at)[channel]),
                     static_cast<double>(pixel(image, left + 1, at)[channel]), right_share);
  };
  return std::lerp(row(top), row(top + 1), bottom_share);
}

double mean_around(const Image& image, int64_t x, int64_t y, int channel) {
  int sum = 0;
  for (int64_t dy = -1; dy <= 1; ++dy) {
    for (int64_t dx = -1; dx <= 1; ++dx) sum += pixel(image, x + dx, y + dy)[channel];
  }
  return sum / 9.0;
}

// `value(x, y, channel)` of every pixel, rounded to 8 bits.
template <class Value>
Image made(const Image& size_of, const Value& value) {
  Image out{.width = size_of.width, .height = size_of.height, .rgb = {}};
  out.rgb.reserve(size_of.rgb.size());
  for (int64_t y = 0; y < out.height; ++y) {
    for (int64_t x = 0; x < out.width; ++x) {
      for (int c = 0; c < 3; ++c) {
        out.rgb.push_back(
            static_cast<uint8_t>(std::clamp<int64_t>(std::llround(value(x, y, c)), 0, 255)));
      }
    }
  }
  return out;
}

}  // namespace

Image distorted(const Image& image, const Distortion& how) {
  const double angle = how.degrees * std::numbers::pi / 180;
  const double cosine = std::cos(angle);
  const double sine = std::sin(angle);
  const double middle_x = static_cast<double>(image.width - 1) / 2;
  const double middle_y = static_cast<double>(image.height - 1) / 2;
  const Image turned = made(image, [&](int64_t x, int64_t y, int channel) {
    const double dx = static_cast<double>(x) - middle_x;
    const double dy = static_cast<double>(y) - middle_y;
    return between_pixels(image, middle_x + cosine * dx - sine * dy,
                          middle_y + sine * dx + cosine * dy, channel);
  });
  return made(turned, [&](int64_t x, int64_t y, int channel) {
    const double sharp = pixel(turned, x, y)[channel];
    const double soft = how.blur > 0 ? mean_around(turned, x, y, channel) : sharp;
    return (std::lerp(sharp, soft, how.blur) - 127.5) * how.contrast + 127.5 + how.brightness * 255;
  });
}

}  // namespace squint::image
