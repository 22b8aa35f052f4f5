#include "image/resize.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "base/check.h"
#include "base/checked_math.h"

namespace squint::image {
namespace {

double cubic(double x) {
  constexpr double kA = -0.5;
  x = std::abs(x);
  if (x < 1.0) return ((kA + 2.0) * x - (kA + 3.0)) * x * x + 1.0;
  if (x < 2.0) return (((x - 5.0) * x + 8.0) * x - 4.0) * kA;
  return 0.0;
}

// Output i of an axis is the weighted sum of inputs begin[i] .. begin[i] + count[i] - 1.
struct Axis {
  int64_t max_count = 0;
  int precision = 0;
  std::vector<int64_t> begin;
  std::vector<int64_t> count;
  std::vector<int16_t> weights;  // [outputs, max_count], scaled by 2^precision

  const int16_t* weights_of(int64_t i) const { return weights.data() + i * max_count; }
};

// The most bits after the point with which the largest weight still fits 15.
int find_precision(double largest) {
  constexpr int kMost = 22;
  int precision = 0;
  while (precision < kMost) {
    // PyTorch's rounding, which bit-exact weights need.
    // NOLINTNEXTLINE(bugprone-incorrect-roundings)
    const int next = static_cast<int>(0.5 + largest * (1 << (precision + 1)));
    if (next >= 1 << 15) break;
    ++precision;
  }
  return precision;
}

Axis make_axis(int64_t in, int64_t out) {
  const double scale = static_cast<double>(in) / static_cast<double>(out);
  const double stretch = std::max(scale, 1.0);
  const double inverse = 1.0 / stretch;
  const double support = 2.0 * stretch;
  Axis axis;
  axis.max_count = std::min(in, 2 * static_cast<int64_t>(std::ceil(support)) + 1);
  axis.begin.resize(static_cast<size_t>(out));
  axis.count.resize(static_cast<size_t>(out));
  std::vector<double> exact(static_cast<size_t>(out * axis.max_count), 0.0);
  double largest = 0.0;
  for (int64_t i = 0; i < out; ++i) {
    const double center = scale * (static_cast<double>(i) + 0.5);
    // PyTorch's rounding again.
    // NOLINTBEGIN(bugprone-incorrect-roundings)
    const int64_t low = std::max<int64_t>(static_cast<int64_t>(center - support + 0.5), 0);
    const int64_t high = std::min<int64_t>(static_cast<int64_t>(center + support + 0.5), in);
    // NOLINTEND(bugprone-incorrect-roundings)
    const int64_t count = std::clamp<int64_t>(high - low, 0, axis.max_count);
    double* weights = exact.data() + i * axis.max_count;
    double total = 0.0;
    for (int64_t j = 0; j < count; ++j) {
      weights[j] = cubic((static_cast<double>(j + low) - center + 0.5) * inverse);
      total += weights[j];
    }
    for (int64_t j = 0; j < count; ++j) {
      if (total != 0.0) weights[j] /= total;
      largest = std::max(largest, weights[j]);
    }
    axis.begin[static_cast<size_t>(i)] = low;
    axis.count[static_cast<size_t>(i)] = count;
  }
  axis.precision = find_precision(largest);
  axis.weights.resize(exact.size());
  std::ranges::transform(exact, axis.weights.begin(), [&](double weight) {
    const double scaled = weight * (1 << axis.precision);
    return static_cast<int16_t>(scaled + (scaled < 0 ? -0.5 : 0.5));
  });
  return axis;
}

uint8_t to_byte(int32_t sum, int precision) {
  return static_cast<uint8_t>(std::clamp(sum >> precision, 0, 255));
}

Image resize_horizontally(const Image& image, int64_t width) {
  const Axis axis = make_axis(image.width, width);
  const int32_t half = 1 << (axis.precision - 1);
  Image out{width, image.height, {}};
  out.rgb.resize(static_cast<size_t>(width * image.height * 3));
  uint8_t* to = out.rgb.data();
  for (int64_t y = 0; y < image.height; ++y) {
    const uint8_t* row = image.rgb.data() + y * image.width * 3;
    for (int64_t x = 0; x < width; ++x, to += 3) {
      const uint8_t* from = row + axis.begin[static_cast<size_t>(x)] * 3;
      const int16_t* weights = axis.weights_of(x);
      const int64_t count = axis.count[static_cast<size_t>(x)];
      int32_t red = half;
      int32_t green = half;
      int32_t blue = half;
      for (int64_t j = 0; j < count; ++j, from += 3) {
        const int32_t weight = weights[j];
        red += from[0] * weight;
        green += from[1] * weight;
        blue += from[2] * weight;
      }
      to[0] = to_byte(red, axis.precision);
      to[1] = to_byte(green, axis.precision);
      to[2] = to_byte(blue, axis.precision);
    }
  }
  return out;
}

struct Column {
  const uint8_t* from;  // the first of `count` values
  int64_t stride;       // from one value to that below
  const int16_t* weights;
  int64_t count;
  int precision;
};

// The weighted sums of `kLanes` neighbouring columns. A fixed number of lanes is what lets the
// compiler keep the sums in vector registers at any optimisation level that vectorises.
template <int kLanes>
void sum_columns(const Column& column, uint8_t* out) {
  int32_t sums[kLanes];
  std::fill_n(sums, kLanes, 1 << (column.precision - 1));
  for (int64_t j = 0; j < column.count; ++j) {
    const uint8_t* from = column.from + j * column.stride;
    const int16_t weight = column.weights[j];
    for (int i = 0; i < kLanes; ++i) sums[i] += static_cast<int16_t>(from[i]) * weight;
  }
  for (int i = 0; i < kLanes; ++i) out[i] = to_byte(sums[i], column.precision);
}

Image resize_vertically(const Image& image, int64_t height) {
  constexpr int kLanes = 64;
  const Axis axis = make_axis(image.height, height);
  const int64_t stride = image.width * 3;
  Image out{image.width, height, {}};
  out.rgb.resize(static_cast<size_t>(stride * height));
  for (int64_t y = 0; y < height; ++y) {
    const int64_t begin = axis.begin[static_cast<size_t>(y)];
    Column column{image.rgb.data() + begin * stride, stride, axis.weights_of(y),
                  axis.count[static_cast<size_t>(y)], axis.precision};
    uint8_t* to = out.rgb.data() + y * stride;
    int64_t x = 0;
    for (; x + kLanes <= stride; x += kLanes, column.from += kLanes) {
      sum_columns<kLanes>(column, to + x);
    }
    for (; x < stride; ++x, ++column.from) sum_columns<1>(column, to + x);
  }
  return out;
}

}  // namespace

Image resize_bicubic(const Image& image, int64_t width, int64_t height) {
  SQUINT_CHECK(width >= 1 && height >= 1 && image.width >= 1 && image.height >= 1);
  const auto between = checked_mul(width, image.height);
  const auto after = checked_mul(width, height);
  SQUINT_CHECK(between && checked_mul(*between, 3) && after && checked_mul(*after, 3));
  SQUINT_CHECK(static_cast<int64_t>(image.rgb.size()) == image.width * image.height * 3);
  if (width == image.width && height == image.height) return image;
  if (width == image.width) return resize_vertically(image, height);
  Image wide = resize_horizontally(image, width);
  return height == image.height ? wide : resize_vertically(wide, height);
}

}  // namespace squint::image
