#include "models/qwen3_vl/image_processor.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <string>

#include "base/check.h"
#include "image/resize.h"
#include "io/mapped_file.h"
#include "squint/error.h"

namespace squint::qwen3_vl {
namespace {

constexpr int64_t kMaxArea = int64_t{1} << 30;
constexpr double kMaxAspectRatio = 200.0;
constexpr double kRescaleFactor = 1.0 / 255.0;
constexpr int kBicubic = 3;
using Levels = std::array<std::array<float, 256>, 3>;  // [channel][stored value]

bool present(const Json& object, const char* key) {
  const auto it = object.find(key);
  return it != object.end() && !it->is_null();
}

[[noreturn]] void fail_unsupported(std::string_view where, std::string_view key,
                                   std::string_view expected, const std::string& found) {
  throw Error(ErrorCode::unsupported,
              fmt::format("{}: \"{}\" should be {} for a Qwen3-VL model, but is {}; the "
                          "configuration of another model?",
                          where, key, expected, found));
}

void expect_int(const Json& object, const char* key, int64_t expected, std::string_view where) {
  const int64_t found = int_member(object, key, where);
  if (found != expected) {
    fail_unsupported(where, key, fmt::to_string(expected), fmt::to_string(found));
  }
}

void check_steps(const Json& object, std::string_view where) {
  for (const char* key : {"do_resize", "do_rescale", "do_normalize"}) {
    if (present(object, key) && !bool_member(object, key, where)) {
      fail_unsupported(where, key, "true", "false");
    }
  }
  if (present(object, "resample")) expect_int(object, "resample", kBicubic, where);
  if (present(object, "rescale_factor")) {
    const double factor = number_member(object, "rescale_factor", where);
    if (std::abs(factor - kRescaleFactor) > 1e-12) {
      fail_unsupported(where, "rescale_factor", "1/255", fmt::to_string(factor));
    }
  }
}

void read_areas(const Json& object, std::string_view where, ImageProcessorConfig& config) {
  const bool has_min = present(object, "min_pixels");
  const bool has_max = present(object, "max_pixels");
  if (!has_min || !has_max) {
    const Json& size = member(object, "size", where);
    config.min_area = int_member(size, "shortest_edge", where);
    config.max_area = int_member(size, "longest_edge", where);
  }
  if (has_min) config.min_area = int_member(object, "min_pixels", where);
  if (has_max) config.max_area = int_member(object, "max_pixels", where);
  if (config.min_area < 1 || config.max_area < config.min_area || config.max_area > kMaxArea) {
    throw Error(
        ErrorCode::bad_input,
        fmt::format("{}: image areas from {} to {} pixels; expected 1 <= smallest <= largest "
                    "<= {}",
                    where, config.min_area, config.max_area, kMaxArea));
  }
}

std::array<float, 3> read_channels(const Json& object, const char* key, std::string_view where) {
  const Json& list = member(object, key, where);
  std::array<float, 3> out{};
  if (!list.is_array() || list.size() != out.size() ||
      !std::ranges::all_of(list, [](const Json& value) { return value.is_number(); })) {
    throw Error(ErrorCode::bad_input,
                fmt::format("{}: \"{}\" should be a list of 3 numbers", where, key));
  }
  for (size_t c = 0; c < out.size(); ++c) out[c] = list[c].get<float>();
  return out;
}

// As the reference fuses rescaling and normalising, in float32.
Levels make_levels(const ImageProcessorConfig& config) {
  Levels levels;
  for (size_t c = 0; c < levels.size(); ++c) {
    const float mean = config.mean[c] * 255.0f;
    const float std = config.std[c] * 255.0f;
    for (size_t x = 0; x < 256; ++x) levels[c][x] = (static_cast<float>(x) - mean) / std;
  }
  return levels;
}

// The patch whose upper left pixel is `corner`, into one row of the output.
void cut_patch(const uint8_t* corner, int64_t image_width, const ImageProcessorConfig& config,
               const Levels& levels, float* out) {
  const int64_t side = config.patch_size;
  const int64_t slice = side * side;
  for (const auto& level : levels) {
    for (int64_t py = 0; py < side; ++py) {
      const uint8_t* from = corner + py * image_width * 3;
      for (int64_t px = 0; px < side; ++px) out[py * side + px] = level[from[px * 3]];
    }
    // A still image fills every time slice alike.
    for (int t = 1; t < config.temporal_patch_size; ++t) std::copy_n(out, slice, out + t * slice);
    out += slice * config.temporal_patch_size;
    ++corner;
  }
}

Patches cut(const image::Image& image, const ImageProcessorConfig& config, const HostWork& host) {
  const int64_t side = config.patch_size;
  const int64_t merge = config.merge_size;
  const Grid grid{1, image.height / side, image.width / side};
  const int64_t columns = 3 * config.temporal_patch_size * side * side;
  Patches out{host.tensor(DType::f32, {grid.h * grid.w, columns}), grid};
  const Levels levels = make_levels(config);
  const std::span<float> values = out.values.span<float>();
  host.each(grid.h / merge, 1, [&](int64_t begin, int64_t end) {
    float* row = values.data() + begin * merge * grid.w * columns;
    for (int64_t block_y = begin * merge; block_y < end * merge; block_y += merge) {
      for (int64_t block_x = 0; block_x < grid.w; block_x += merge) {
        for (int64_t i = 0; i < merge * merge; ++i, row += columns) {
          const int64_t y = (block_y + i / merge) * side;
          const int64_t x = (block_x + i % merge) * side;
          cut_patch(image.rgb.data() + (y * image.width + x) * 3, image.width, config, levels, row);
        }
      }
    }
  });
  return out;
}

}  // namespace

ImageProcessorConfig parse_image_processor(const Json& config, std::string_view where) {
  const bool nested = config.is_object() && config.contains("image_processor");
  const std::string inside = fmt::format("{}: image_processor", where);
  const std::string_view place = nested ? std::string_view(inside) : where;
  const Json& object = nested ? config.at("image_processor") : config;

  ImageProcessorConfig out;
  expect_int(object, "patch_size", out.patch_size, place);
  expect_int(object, "temporal_patch_size", out.temporal_patch_size, place);
  expect_int(object, "merge_size", out.merge_size, place);
  check_steps(object, place);
  read_areas(object, place, out);
  out.mean = read_channels(object, "image_mean", place);
  out.std = read_channels(object, "image_std", place);
  if (!std::ranges::all_of(out.std, [](float std) { return std > 0.0f && std::isfinite(std); }) ||
      !std::ranges::all_of(out.mean, [](float mean) { return std::isfinite(mean); })) {
    throw Error(
        ErrorCode::bad_input,
        fmt::format("{}: \"image_std\" should be positive and \"image_mean\" finite", place));
  }
  return out;
}

std::optional<ImageProcessorConfig> find_image_processor(const std::filesystem::path& folder) {
  constexpr int64_t kMaxBytes = int64_t{64} << 20;
  for (const char* name : {"preprocessor_config.json", "processor_config.json"}) {
    const std::filesystem::path file = folder / name;
    std::error_code absent;
    if (!std::filesystem::exists(file, absent)) continue;
    return parse_image_processor(parse_json(io::read_file(file, kMaxBytes), file.string()),
                                 file.string());
  }
  return std::nullopt;
}

ImageProcessorConfig with_areas(const ImageProcessorConfig& config, std::optional<int64_t> min_area,
                                std::optional<int64_t> max_area) {
  ImageProcessorConfig out = config;
  out.min_area = min_area.value_or(config.min_area);
  out.max_area = max_area.value_or(config.max_area);
  if (out.min_area < 1 || out.max_area < out.min_area || out.max_area > kMaxArea) {
    throw Error(
        ErrorCode::usage,
        fmt::format("image areas from {} to {} pixels; expected 1 <= smallest <= largest "
                    "<= {}; the model's own limits are {} and {}",
                    out.min_area, out.max_area, kMaxArea, config.min_area, config.max_area));
  }
  return out;
}

std::optional<TargetSize> smart_resize(int64_t height, int64_t width,
                                       const ImageProcessorConfig& config) {
  SQUINT_CHECK(height >= 1 && width >= 1);
  const double h = static_cast<double>(height);
  const double w = static_cast<double>(width);
  if (std::max(h, w) / std::min(h, w) > kMaxAspectRatio) return std::nullopt;

  const int64_t unit = int64_t{config.patch_size} * config.merge_size;
  const double factor = static_cast<double>(unit);
  // nearbyint rounds half to even, as the reference does: 16 becomes 0 units, 48 two.
  TargetSize size{static_cast<int64_t>(std::nearbyint(h / factor)) * unit,
                  static_cast<int64_t>(std::nearbyint(w / factor)) * unit};
  const double area = static_cast<double>(height * width);
  if (size.height * size.width > config.max_area) {
    const double beta = std::sqrt(area / static_cast<double>(config.max_area));
    size.height = std::max(unit, static_cast<int64_t>(std::floor(h / beta / factor)) * unit);
    size.width = std::max(unit, static_cast<int64_t>(std::floor(w / beta / factor)) * unit);
  } else if (size.height * size.width < config.min_area) {
    const double beta = std::sqrt(static_cast<double>(config.min_area) / area);
    size.height = static_cast<int64_t>(std::ceil(h * beta / factor)) * unit;
    size.width = static_cast<int64_t>(std::ceil(w * beta / factor)) * unit;
  }
  return size;
}

int64_t patch_count(const TargetSize& size, const ImageProcessorConfig& config) {
  return size.height / config.patch_size * (size.width / config.patch_size);
}

Patches preprocess(const image::Image& image, const ImageProcessorConfig& config,
                   std::string_view where, const HostWork& host) {
  const auto size = smart_resize(image.height, image.width, config);
  if (!size) {
    throw Error(ErrorCode::bad_input,
                fmt::format("{}: {}x{} pixels; one side may be at most {} times the other", where,
                            image.width, image.height, kMaxAspectRatio));
  }
  if (size->height == image.height && size->width == image.width) return cut(image, config, host);
  return cut(image::resize_bicubic(image, size->width, size->height), config, host);
}

}  // namespace squint::qwen3_vl
