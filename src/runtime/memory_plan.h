// memory_plan.h: what one run takes of memory at each of its moments, from sizes alone.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>
#include <string>

#include "models/qwen3_vl/footprint.h"
#include "squint/fit.h"

namespace squint::runtime {

// Bytes, unless it says otherwise.
struct MemoryPlan {
  int64_t program = 0;
  int64_t tokenizer = 0;
  std::array<int64_t, 4> kept{};  // weights by component
  int64_t stored = 0;
  int64_t parameters = 0;
  int64_t loading_extra = 0;  // at the fullest moment of loading, beside the weights loaded by then
  std::array<int64_t, 4> kept_then{};
  int64_t pixels = 0;    // patches of the images, on the host
  int64_t features = 0;  // what the vision tower made of them
  int64_t encode_work = 0;
  int64_t prompt_work = 0;
  int64_t cache = 0;
  int64_t image_tokens = 0;

  int64_t weights() const { return kept[0] + kept[1] + kept[2] + kept[3]; }
  int64_t base() const { return program + tokenizer; }
  int64_t loading() const {
    return base() + loading_extra + kept_then[0] + kept_then[1] + kept_then[2] + kept_then[3];
  }
  int64_t encoding() const { return base() + weights() + pixels + features + encode_work; }
  int64_t prompting() const { return base() + weights() + pixels + features + prompt_work + cache; }
  // The fullest moment's.
  int64_t total() const {
    return std::max({loading(), encode_work > 0 ? encoding() : 0, prompting()});
  }
};

struct RunLength {
  std::span<const int64_t> patches;  // of each image
  int64_t prompt = 0;                // tokens
  int64_t context = 0;               // tokens that the cache has room for
};
// `program`: what the process takes before anything is loaded.
MemoryPlan plan_memory(const qwen3_vl::Config& config, const qwen3_vl::FormOf& form_of,
                       const Backend& backend, const RunLength& length, int64_t program);

// The plan as parts of its fullest moment.
FitPlan in_words(const MemoryPlan& plan, const RunLength& length, const std::string& text_form);
// How most weights of the text layers are stored.
std::string text_form(const qwen3_vl::Config& config, const qwen3_vl::FormOf& form_of);

}  // namespace squint::runtime
