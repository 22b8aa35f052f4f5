// generation_config.h: what a checkpoint asks of whoever generates with it (spec qwen3-vl.md §6.1).
#pragma once

#include <string_view>
#include <vector>

#include "base/json.h"
#include "squint/engine.h"

namespace squint::runtime {

struct GenerationConfig {
  Sampling sampling{.temperature = 0};
  std::vector<int64_t> eos_token_ids;  // empty where the file names none
};

// Of generation_config.json. Throws Error(bad_input) for values that make no sense.
GenerationConfig parse_generation_config(const Json& config, std::string_view where);

// Throws Error(usage) where a value is out of range, naming it.
void check_sampling(const Sampling& sampling);

}  // namespace squint::runtime
