#include "image/resize.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "squint/error.h"

namespace squint::image {
namespace {

using Bytes = std::vector<uint8_t>;

// A grey row, the same in all channels.
Image row(const Bytes& values) {
  Image out{static_cast<int64_t>(values.size()), 1, {}};
  for (const uint8_t value : values) out.rgb.insert(out.rgb.end(), 3, value);
  return out;
}

Image transposed(const Image& image) {
  Image out{image.height, image.width, Bytes(image.rgb.size())};
  for (int64_t y = 0; y < image.height; ++y) {
    for (int64_t x = 0; x < image.width; ++x) {
      for (int64_t c = 0; c < 3; ++c) {
        out.rgb[static_cast<size_t>((x * image.height + y) * 3 + c)] =
            image.rgb[static_cast<size_t>((y * image.width + x) * 3 + c)];
      }
    }
  }
  return out;
}

Image noise(int64_t width, int64_t height, uint32_t seed) {
  std::mt19937 random(seed);
  Image out{width, height, Bytes(static_cast<size_t>(width * height * 3))};
  std::ranges::generate(out.rgb, [&] { return static_cast<uint8_t>(random() & 255); });
  return out;
}

const Bytes kVector = {10, 200, 35, 90, 255, 0, 128, 77, 64, 31};

// Spec qwen3-vl.md §2.4: the published vector, on either axis.
TEST(ResizeBicubic, PublishedVector) {
  const Image six = row({92, 83, 167, 74, 89, 43});
  const Image sixteen = row({0, 93, 199, 82, 32, 83, 206, 228, 30, 39, 130, 96, 71, 65, 43, 29});
  EXPECT_EQ(resize_bicubic(row(kVector), 6, 1), six);
  EXPECT_EQ(resize_bicubic(row(kVector), 16, 1), sixteen);
  EXPECT_EQ(resize_bicubic(transposed(row(kVector)), 1, 6), transposed(six));
  EXPECT_EQ(resize_bicubic(transposed(row(kVector)), 1, 16), transposed(sixteen));
}

// One output value by the formula of the specification, in double and without integer weights.
double exact(const std::vector<double>& in, int64_t out, int64_t i) {
  const double scale = static_cast<double>(in.size()) / static_cast<double>(out);
  const double s = std::max(scale, 1.0);
  const double center = scale * (static_cast<double>(i) + 0.5);
  double sum = 0.0;
  double total = 0.0;
  for (size_t j = 0; j < in.size(); ++j) {
    const double x = std::abs(static_cast<double>(j) - center + 0.5) / s;
    const double weight = x < 1   ? 1.5 * x * x * x - 2.5 * x * x + 1
                          : x < 2 ? -0.5 * x * x * x + 2.5 * x * x - 4 * x + 2
                                  : 0;
    sum += weight * in[j];
    total += weight;
  }
  return std::clamp(sum / total, 0.0, 255.0);
}

TEST(ResizeBicubic, FollowsTheFormulaWithinOneLevel) {
  constexpr uint32_t kSeed = 20;
  SCOPED_TRACE(kSeed);
  for (const int64_t in : {1, 2, 3, 17, 100}) {
    const Image image = noise(in, 1, kSeed);
    for (const int64_t out : {1, 2, 5, 16, 33, 99, 240}) {
      const Image resized = resize_bicubic(image, out, 1);
      for (int64_t c = 0; c < 3; ++c) {
        std::vector<double> values;
        for (int64_t x = 0; x < in; ++x)
          values.push_back(image.rgb[static_cast<size_t>(x * 3 + c)]);
        for (int64_t i = 0; i < out; ++i) {
          EXPECT_NEAR(resized.rgb[static_cast<size_t>(i * 3 + c)], exact(values, out, i), 1.0)
              << in << " to " << out << " at " << i;
        }
      }
    }
  }
}

// The horizontal pass comes first and stores bytes; both axes are treated alike.
TEST(ResizeBicubic, IsOneAxisAfterTheOther) {
  constexpr uint32_t kSeed = 21;
  SCOPED_TRACE(kSeed);
  const Image image = noise(50, 41, kSeed);  // wide enough for whole and partial blocks of lanes
  for (const auto& [width, height] : {std::pair<int64_t, int64_t>{96, 64}, {23, 7}, {7, 90}}) {
    const Image wide = resize_bicubic(image, width, 41);
    EXPECT_EQ(resize_bicubic(image, width, height), resize_bicubic(wide, width, height));
    EXPECT_EQ(resize_bicubic(wide, width, height),
              transposed(resize_bicubic(transposed(wide), height, width)));
  }
}

TEST(ResizeBicubic, SameSizeIsUntouched) {
  const Image image = noise(9, 5, 22);
  EXPECT_EQ(resize_bicubic(image, 9, 5), image);
}

TEST(ResizeBicubic, PlainAreasStayPlain) {
  for (const uint8_t level : {0, 1, 127, 254, 255}) {
    const Image image{40, 30, Bytes(40 * 30 * 3, level)};
    for (const auto& [width, height] : {std::pair<int64_t, int64_t>{64, 64}, {3, 2}, {500, 1}}) {
      const Image out = resize_bicubic(image, width, height);
      ASSERT_EQ(out.rgb.size(), static_cast<size_t>(width * height * 3));
      EXPECT_TRUE(std::ranges::all_of(out.rgb, [&](uint8_t v) { return v == level; }))
          << int{level};
    }
  }
}

// Sums at the extremes: overshoot is clamped, and a long kernel does not overflow.
TEST(ResizeBicubic, ExtremesAreClamped) {
  EXPECT_EQ(std::ranges::max(resize_bicubic(row({0, 0, 255, 255}), 16, 1).rgb), 255);
  EXPECT_EQ(std::ranges::min(resize_bicubic(row({255, 255, 0, 0}), 16, 1).rgb), 0);
  EXPECT_EQ(resize_bicubic(row(Bytes(100'000, 255)), 2, 1), row({255, 255}));
}

TEST(ResizeBicubic, ChannelsAreKeptApart) {
  Image image{4, 1, {}};
  for (int i = 0; i < 4; ++i) image.rgb.insert(image.rgb.end(), {10, 120, 250});
  const Image out = resize_bicubic(image, 7, 3);
  for (size_t i = 0; i < out.rgb.size(); i += 3) {
    EXPECT_EQ(
        Bytes(out.rgb.begin() + static_cast<int>(i), out.rgb.begin() + static_cast<int>(i) + 3),
        (Bytes{10, 120, 250}));
  }
}

TEST(ResizeBicubic, EmptySizesAreBugsOfTheCaller) {
  EXPECT_THROW(resize_bicubic(row({1}), 0, 1), InternalError);
  EXPECT_THROW(resize_bicubic(Image{}, 1, 1), InternalError);
}

}  // namespace
}  // namespace squint::image
