// image_processor.h: from a picture to the patches that the vision tower reads
// (spec qwen3-vl.md §2).
//
// Row `((gy/2)*(w/2) + gx/2)*4 + (gy%2)*2 + gx%2` of the patches is the patch at grid row gy and
// column gx: four consecutive rows make one token of the language model, tokens in raster order. In
// a row the value of channel c, time slice t and pixel (py, px) stands at ((c*2 + t)*16 + py)*16 +
// px.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string_view>

#include "base/json.h"
#include "core/tensor.h"
#include "image/image.h"
#include "ops/host_work.h"

namespace squint::qwen3_vl {

struct ImageProcessorConfig {
  int64_t min_area = 65536;     // in pixels after resizing
  int64_t max_area = 16777216;  // in pixels after resizing
  int patch_size = 16;
  int temporal_patch_size = 2;
  int merge_size = 2;
  std::array<float, 3> mean = {0.5f, 0.5f, 0.5f};  // of values in 0..1; red, green, blue
  std::array<float, 3> std = {0.5f, 0.5f, 0.5f};
};

// Reads preprocessor_config.json, or processor_config.json, where the same object is called
// "image_processor". Areas come from "size" or from the older min_pixels and max_pixels, which win.
// Throws Error(bad_input) for what is missing or impossible, Error(unsupported) for steps and sizes
// that no Qwen3-VL model uses.
ImageProcessorConfig parse_image_processor(const Json& config, std::string_view where);

// What a checkpoint's folder says: the first of the two files that is there; nothing without one.
// Also throws Error(io).
std::optional<ImageProcessorConfig> find_image_processor(const std::filesystem::path& folder);

// `config` with other areas where they are given. Throws Error(usage) where the smallest is then
// above the largest, or an area out of bounds.
ImageProcessorConfig with_areas(const ImageProcessorConfig& config, std::optional<int64_t> min_area,
                                std::optional<int64_t> max_area);

struct Grid {  // in patches
  int64_t t = 0, h = 0, w = 0;
  friend bool operator==(const Grid&, const Grid&) = default;
};

struct TargetSize {  // in pixels
  int64_t height = 0, width = 0;
  friend bool operator==(const TargetSize&, const TargetSize&) = default;
};

// The size an image of height x width (each >= 1) is stretched to: multiples of 32 with an area
// between min_area and max_area where possible. Nothing when one side is over 200 times the other.
std::optional<TargetSize> smart_resize(int64_t height, int64_t width,
                                       const ImageProcessorConfig& config);

// Of an image resized so.
int64_t patch_count(const TargetSize& size, const ImageProcessorConfig& config);

struct Patches {
  Tensor values;  // f32 [grid.h * grid.w, 3 * temporal_patch_size * patch_size * patch_size]
  Grid grid;
};

// Resizes, normalises to (x - 255*mean) / (255*std) and cuts into patches. `where` names the image.
// Throws Error(bad_input) for an image that is too elongated.
Patches preprocess(const image::Image& image, const ImageProcessorConfig& config,
                   std::string_view where, const HostWork& host = {});

}  // namespace squint::qwen3_vl
