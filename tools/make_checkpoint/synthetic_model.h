// synthetic_model.h: sizes, tensors and files of a Qwen3-VL checkpoint as published (spec
// qwen3-vl.md §1).
#pragma once

#include <map>
#include <string>
#include <vector>

#include "models/qwen3_vl/config.h"
#include "synthetic_values.h"
#include "text/tokenizer.h"

namespace squint::tools {

// "2b", "4b", "8b", "32b". Token ids are not set.
const std::map<std::string, qwen3_vl::Config>& presets();

// Makes a config whose sizes were changed one by one agree with itself where only one choice is
// left.
void adapt(qwen3_vl::Config& config);

// config.json, generation_config.json, preprocessor_config.json and video_preprocessor_config.json.
// Error(bad_input) for sizes that no model can have, and for a tokenizer without Qwen3-VL's tokens.
std::map<std::string, std::string> model_files(const qwen3_vl::Config& config,
                                               const text::Tokenizer& tokenizer);

// Every tensor, in the order of the model.
std::vector<TensorPlan> tensors(const qwen3_vl::Config& config);

}  // namespace squint::tools
