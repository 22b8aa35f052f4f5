// config.h: the numbers of a Qwen3-VL checkpoint, from config.json in the published spelling (4.57)
// or the newer one (5.x) (spec qwen3-vl.md §1.5). No number has a default: a missing key is an
// error.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"

namespace squint::qwen3_vl {

struct TextConfig {
  int64_t hidden = 0;
  int64_t layers = 0;
  int64_t heads = 0;
  int64_t kv_heads = 0;
  int64_t head_dim = 0;
  int64_t intermediate = 0;
  int64_t vocab = 0;
  int64_t max_positions = 0;
  float norm_eps = 0;
  double rope_theta = 0;
  std::array<int64_t, 3> mrope_section{};  // frequencies for time, height, width; sum head_dim / 2

  friend bool operator==(const TextConfig&, const TextConfig&) = default;
};

struct VisionConfig {
  int64_t hidden = 0;
  int64_t depth = 0;
  int64_t heads = 0;
  int64_t intermediate = 0;
  int64_t positions = 0;  // learned, a square grid
  int64_t patch_size = 0;
  int64_t temporal_patch_size = 0;
  int64_t merge_size = 0;
  int64_t out_hidden = 0;
  std::vector<int64_t> deepstack_blocks;  // the block whose output each deepstack merger reads

  int64_t head_dim() const { return hidden / heads; }
  int64_t patch_values() const { return 3 * temporal_patch_size * patch_size * patch_size; }
  int64_t merged_hidden() const { return hidden * merge_size * merge_size; }
  friend bool operator==(const VisionConfig&, const VisionConfig&) = default;
};

struct Config {
  TextConfig text;
  VisionConfig vision;
  int64_t image_token_id = 0;
  int64_t video_token_id = 0;
  std::vector<int64_t> eos_token_ids;  // of the text model; generation_config.json may say more
  bool tied_head = false;
};

// A token id or a list of them; null is none. Throws Error(bad_input) for anything else.
std::vector<int64_t> parse_eos_token_ids(const Json& value, std::string_view where);

// Throws Error(bad_input) for what is missing or contradictory, Error(unsupported) for another
// architecture, saying which are supported.
Config parse_config(const Json& config, std::string_view where);

}  // namespace squint::qwen3_vl
