// The reference's pixel_values, as float32, against ours, value by value.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "image/decode.h"
#include "models/qwen3_vl/image_processor.h"
#include "support/json.h"
#include "support/paths.h"

namespace squint::qwen3_vl {
namespace {

struct Golden {
  std::vector<float> pixels;
  std::vector<int32_t> grids;
};

template <class T>
std::vector<T> read_tensor(const std::string& file, const nlohmann::json& header,
                           const char* name) {
  uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, file.data(), 8);
  const auto& offsets = header.at(name).at("data_offsets");
  const size_t begin = 8 + header_bytes + offsets[0].get<size_t>();
  std::vector<T> out((offsets[1].get<size_t>() - offsets[0].get<size_t>()) / sizeof(T));
  std::memcpy(out.data(), file.data() + begin, out.size() * sizeof(T));
  return out;
}

Golden read_golden(const std::filesystem::path& path) {
  const std::string file = test::read_text(path);
  uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, file.data(), 8);
  const auto header = test::json_of(file.substr(8, header_bytes));
  return {read_tensor<float>(file, header, "pixel_values"),
          read_tensor<int32_t>(file, header, "image_grid_thw")};
}

TEST(PreprocessShared, PixelValuesMatchTheReference) {
  const auto shared = test::shared_data();
  if (!shared) GTEST_SKIP() << test::kNoShared;
  const auto folder = *shared / "goldens/model";
  const auto cases = test::json_of(test::read_text(folder / "cases.json"));
  const ImageProcessorConfig config = parse_image_processor(
      test::json_of(test::read_text(*shared / "tiny-qwen3-vl-ocr/preprocessor_config.json")),
      "preprocessor_config.json");
  for (const auto& [name, row] : cases.items()) {
    if (row.at("images").empty()) continue;
    const Golden golden = read_golden(folder / (name + ".safetensors"));
    std::vector<float> pixels;
    std::vector<int32_t> grids;
    for (const auto& image_name : row.at("images")) {
      const std::string file = test::read_text(folder / image_name.get<std::string>());
      const auto image =
          image::decode(std::as_bytes(std::span(file)), image_name.get<std::string>());
      const Patches patches = preprocess(image, config, image_name.get<std::string>());
      const auto values = patches.values.span<float>();
      pixels.insert(pixels.end(), values.begin(), values.end());
      for (const int64_t side : {patches.grid.t, patches.grid.h, patches.grid.w}) {
        grids.push_back(static_cast<int32_t>(side));
      }
    }
    EXPECT_EQ(grids, golden.grids) << name;
    ASSERT_EQ(pixels.size(), golden.pixels.size()) << name;
    float worst = 0.0f;
    for (size_t i = 0; i < pixels.size(); ++i) {
      worst = std::max(worst, std::abs(pixels[i] - golden.pixels[i]));
    }
    EXPECT_EQ(worst, 0.0f) << name;
  }
}

}  // namespace
}  // namespace squint::qwen3_vl
