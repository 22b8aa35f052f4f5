#include "models/qwen3_vl/image_processor.h"

#include <gtest/gtest.h>
#include <openssl/sha.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/dtype.h"
#include "image/decode.h"
#include "io/error_of.h"
#include "squint/error.h"
#include "support/json.h"
#include "support/paths.h"

namespace squint::qwen3_vl {
namespace {

using Bytes = std::vector<uint8_t>;

std::string data_path(const std::string& name) {
  return test::repo_dir() / "tests/data/images" / name;
}

std::string sha256(const Bytes& bytes) {
  unsigned char digest[SHA256_DIGEST_LENGTH];
  SHA256(bytes.data(), bytes.size(), digest);
  std::string hex;
  for (const unsigned char byte : digest) {
    hex += "0123456789abcdef"[byte >> 4];
    hex += "0123456789abcdef"[byte & 15];
  }
  return hex;
}

// The stored values behind normalised ones.
Bytes levels_of(const Tensor& values) {
  Bytes out;
  for (const float y : values.span<float>()) {
    out.push_back(static_cast<uint8_t>(std::lround(y * 127.5f + 127.5f)));
  }
  return out;
}

// The areas that the fixtures were made with.
ImageProcessorConfig small_config() {
  ImageProcessorConfig config;
  config.min_area = 8192;
  config.max_area = 262144;
  return config;
}

Json standard_json() {
  return {{"size", {{"shortest_edge", 65536}, {"longest_edge", 16777216}}},
          {"patch_size", 16},
          {"temporal_patch_size", 2},
          {"merge_size", 2},
          {"image_mean", {0.5, 0.5, 0.5}},
          {"image_std", {0.5, 0.5, 0.5}},
          {"processor_class", "Qwen3VLProcessor"},
          {"image_processor_type", "Qwen2VLImageProcessorFast"}};
}

TEST(SmartResize, WholeReferenceTable) {
  const auto table = test::json_of(test::read_gzip(data_path("smart-resize.json.gz")));
  ASSERT_GT(table.size(), 1000u);
  int rejected = 0;
  for (const auto& row : table) {
    ImageProcessorConfig config;
    config.min_area = row[2];
    config.max_area = row[3];
    std::optional<TargetSize> expected;
    if (!row[4].is_null()) expected = TargetSize{row[4], row[5]};
    const auto found = smart_resize(row[0], row[1], config);
    ASSERT_EQ(found.has_value(), expected.has_value()) << row;
    if (expected) {
      ASSERT_EQ(*found, *expected) << row << ": " << found->height << "x" << found->width;
    }
    rejected += expected ? 0 : 1;
  }
  EXPECT_GT(rejected, 0);
}

// Spec qwen3-vl.md §2.3.
TEST(SmartResize, PublishedExamples) {
  const ImageProcessorConfig config;
  const std::vector<std::array<int64_t, 4>> rows = {
      {1080, 1920, 1088, 1920}, {224, 224, 256, 256},     {16, 16, 256, 256},
      {48, 48, 256, 256},       {80, 80, 256, 256},       {10, 1990, 32, 3616},
      {1, 200, 32, 3648},       {112, 2000, 128, 1984},   {3024, 4032, 3008, 4032},
      {4000, 6000, 3328, 4992}, {8000, 8000, 4096, 4096}, {64, 12000, 64, 12000},
      {333, 777, 320, 768}};
  for (const auto& [h, w, height, width] : rows) {
    EXPECT_EQ(smart_resize(h, w, config), (TargetSize{height, width})) << h << "x" << w;
  }
}

TEST(SmartResize, TwoHundredToOneIsTheLimit) {
  const ImageProcessorConfig config;
  EXPECT_TRUE(smart_resize(1, 200, config));
  EXPECT_FALSE(smart_resize(1, 201, config));
  EXPECT_FALSE(smart_resize(2001, 10, config));
  EXPECT_THROW(smart_resize(0, 5, config), InternalError);
}

TEST(WithAreas, ReplacesWhatIsGiven) {
  const ImageProcessorConfig own;
  EXPECT_EQ(with_areas(own, {}, {}).max_area, own.max_area);
  EXPECT_EQ(with_areas(own, {}, 100'000).max_area, 100'000);
  EXPECT_EQ(with_areas(own, {}, 100'000).min_area, own.min_area);
  EXPECT_EQ(with_areas(own, 5, 5).min_area, 5);
  EXPECT_TRUE(test::says(test::error_of(ErrorCode::usage, [&] { with_areas(own, {}, 1000); }),
                         "from 65536 to 1000 pixels"));
  test::error_of(ErrorCode::usage, [&] { with_areas(own, 0, {}); });
  test::error_of(ErrorCode::usage, [&] { with_areas(own, {}, int64_t{1} << 40); });
}

TEST(Preprocess, FixturesAreIdenticalToTheReference) {
  const auto expected = test::json_of(test::read_text(data_path("expected.json")));
  int compared = 0;
  for (const auto& [name, row] : expected.items()) {
    const std::string file = test::read_text(data_path(name));
    const auto image =
        image::decode(std::as_bytes(std::span(file)), name, {.apply_orientation = false});
    const Patches patches = preprocess(image, small_config(), name);
    EXPECT_EQ(patches.grid, (Grid{row["grid"][0], row["grid"][1], row["grid"][2]})) << name;
    EXPECT_EQ(image.width, row["size"][0]) << name;
    EXPECT_EQ(image.height, row["size"][1]) << name;
    EXPECT_EQ(patches.values.shape(), (Shape{patches.grid.h * patches.grid.w, 1536})) << name;
    if (!row.contains("patches_u8")) continue;
    EXPECT_EQ(sha256(levels_of(patches.values)), row["patches_u8"]["sha256"]) << name;
    ++compared;
  }
  EXPECT_EQ(compared, 7);
}

// Every value of the layout formula, on an image that needs no resize and repeats nowhere nearby.
TEST(Preprocess, LayoutFollowsTheFormula) {
  image::Image image{96, 64, Bytes(96 * 64 * 3)};
  for (size_t i = 0; i < image.rgb.size(); ++i)
    image.rgb[i] = static_cast<uint8_t>(i * 101 + i / 256);
  ImageProcessorConfig config = small_config();
  config.min_area = 1024;
  const Patches patches = preprocess(image, config, "made");
  ASSERT_EQ(patches.grid, (Grid{1, 4, 6}));
  const Bytes levels = levels_of(patches.values);
  for (int64_t y = 0; y < 64; ++y) {
    for (int64_t x = 0; x < 96; ++x) {
      const int64_t gy = y / 16, gx = x / 16;
      const int64_t row = ((gy / 2) * 3 + gx / 2) * 4 + (gy % 2) * 2 + gx % 2;
      for (int64_t c = 0; c < 3; ++c) {
        for (int64_t t = 0; t < 2; ++t) {
          const int64_t column = ((c * 2 + t) * 16 + y % 16) * 16 + x % 16;
          ASSERT_EQ(levels[static_cast<size_t>(row * 1536 + column)],
                    image.rgb[static_cast<size_t>((y * 96 + x) * 3 + c)])
              << y << " " << x << " " << c << " " << t;
        }
      }
    }
  }
}

// Spec qwen3-vl.md §2.5: the values and, after rounding to bf16, their bits.
TEST(Preprocess, NormalisedValues) {
  struct Case {
    int level;
    float value;
    int bits;
  };
  for (const auto& [level, value, bits] :
       {Case{0, -1.0f, 0xbf80}, Case{1, -126.5f / 127.5f, 0xbf7e},
        Case{64, -63.5f / 127.5f, 0xbeff}, Case{127, -0.5f / 127.5f, 0xbb81},
        Case{128, 0.5f / 127.5f, 0x3b81}, Case{200, 72.5f / 127.5f, 0x3f12},
        Case{254, 126.5f / 127.5f, 0x3f7e}, Case{255, 1.0f, 0x3f80}}) {
    const image::Image image{128, 128, Bytes(128 * 128 * 3, static_cast<uint8_t>(level))};
    const Patches patches = preprocess(image, small_config(), "plain");
    for (const float y : patches.values.span<float>()) ASSERT_EQ(y, value) << level;
    EXPECT_EQ(to_bf16(value).bits, bits) << level;
  }
}

TEST(Preprocess, MeanAndStdApplyPerChannel) {
  ImageProcessorConfig config = small_config();
  config.mean = {0.0f, 0.2f, 1.0f};
  config.std = {1.0f, 0.4f, 0.5f};
  const image::Image image{128, 128, Bytes(128 * 128 * 3, 51)};
  const Patches patches = preprocess(image, config, "plain");
  const auto values = patches.values.span<float>();
  EXPECT_FLOAT_EQ(values[0], 0.2f);
  EXPECT_NEAR(values[512], 0.0f, 1e-7f);
  EXPECT_FLOAT_EQ(values[1024], -1.6f);
}

TEST(Preprocess, ElongatedImageIsRefused) {
  const image::Image image{201, 1, Bytes(201 * 3)};
  try {
    preprocess(image, ImageProcessorConfig{}, "ruler.png");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::bad_input);
    EXPECT_EQ(std::string(error.what()),
              "ruler.png: 201x1 pixels; one side may be at most 200 times the other");
  }
}

TEST(ParseImageProcessor, PublishedConfiguration) {
  const ImageProcessorConfig config = parse_image_processor(standard_json(), "p.json");
  EXPECT_EQ(config.min_area, 65536);
  EXPECT_EQ(config.max_area, 16777216);
  EXPECT_EQ(config.mean, (std::array<float, 3>{0.5f, 0.5f, 0.5f}));
  EXPECT_EQ(config.std, (std::array<float, 3>{0.5f, 0.5f, 0.5f}));
}

TEST(ParseImageProcessor, NestedInAProcessorConfiguration) {
  Json inner = standard_json();
  inner.update({{"do_resize", true}, {"resample", 3}, {"rescale_factor", 0.00392156862745098}});
  inner["size"] = {{"shortest_edge", 8192}, {"longest_edge", 262144}};
  const Json outer = {{"image_processor", inner}, {"video_processor", Json::object()}};
  const ImageProcessorConfig config = parse_image_processor(outer, "processor_config.json");
  EXPECT_EQ(config.min_area, 8192);
  EXPECT_EQ(config.max_area, 262144);
}

TEST(ParseImageProcessor, OlderNamesOfTheAreasWin) {
  Json json = standard_json();
  json["min_pixels"] = 1024;
  json["max_pixels"] = nullptr;
  EXPECT_EQ(parse_image_processor(json, "p").min_area, 1024);
  EXPECT_EQ(parse_image_processor(json, "p").max_area, 16777216);
  json["max_pixels"] = 4096;
  json.erase("size");
  EXPECT_EQ(parse_image_processor(json, "p").max_area, 4096);
}

TEST(ParseImageProcessor, RefusesWhatItCannotHonour) {
  const auto refusal = [](const char* key, const Json& value) {
    Json json = standard_json();
    json[key] = value;
    try {
      parse_image_processor(json, "p.json");
    } catch (const Error& error) {
      const std::string message = error.what();
      EXPECT_NE(message.find("p.json"), std::string::npos) << message;
      return std::optional(error.code());
    }
    return std::optional<ErrorCode>();
  };
  EXPECT_EQ(refusal("patch_size", 14), ErrorCode::unsupported);
  EXPECT_EQ(refusal("temporal_patch_size", 1), ErrorCode::unsupported);
  EXPECT_EQ(refusal("merge_size", 4), ErrorCode::unsupported);
  EXPECT_EQ(refusal("do_resize", false), ErrorCode::unsupported);
  EXPECT_EQ(refusal("do_rescale", false), ErrorCode::unsupported);
  EXPECT_EQ(refusal("do_normalize", false), ErrorCode::unsupported);
  EXPECT_EQ(refusal("resample", 2), ErrorCode::unsupported);
  EXPECT_EQ(refusal("rescale_factor", 1.0), ErrorCode::unsupported);
  EXPECT_EQ(refusal("patch_size", "16"), ErrorCode::bad_input);
  EXPECT_EQ(refusal("size", {{"height", 1}, {"width", 1}}), ErrorCode::bad_input);
  EXPECT_EQ(refusal("size", 5), ErrorCode::bad_input);
  EXPECT_EQ(refusal("min_pixels", 0), ErrorCode::bad_input);
  EXPECT_EQ(refusal("min_pixels", 16777217), ErrorCode::bad_input);
  EXPECT_EQ(refusal("max_pixels", int64_t{1} << 31), ErrorCode::bad_input);
  EXPECT_EQ(refusal("image_mean", {0.5, 0.5}), ErrorCode::bad_input);
  EXPECT_EQ(refusal("image_mean", {0.5, 0.5, "x"}), ErrorCode::bad_input);
  EXPECT_EQ(refusal("image_mean", {0.5, 0.5, 1e300}), ErrorCode::bad_input);
  EXPECT_EQ(refusal("image_std", {0.5, 0.0, 0.5}), ErrorCode::bad_input);
  EXPECT_EQ(refusal("do_resize", true), std::nullopt);
  EXPECT_THROW(parse_image_processor(Json::array(), "p.json"), Error);
}

}  // namespace
}  // namespace squint::qwen3_vl
