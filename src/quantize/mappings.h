// mappings.h: which layers a recipe's patterns mean: those that AWQ rescales (spec awq-w4a16.md
// §1.2), those that are quantized.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "models/qwen3_vl/decoder_block.h"
#include "squint/quantize.h"

namespace squint::quantize {

// llm-compressor's, for models like this one.
const std::vector<SmoothMapping>& default_mappings();

struct SmoothGroups {
  std::vector<std::vector<qwen3_vl::SmoothGroup>> layers;
  bool left_out = false;  // v_proj → o_proj was named, but their widths differ
};

// The model's smooth groups that `mappings` name, of each layer; all where it is empty.
// Error(bad_input) for a mapping that matches nothing, or layers that are no such group.
SmoothGroups choose_groups(std::span<const SmoothMapping> mappings,
                           const qwen3_vl::TextConfig& config);

// Where `targets` and `ignore` include a linear layer outside of the text layers: it is left alone.
std::optional<std::string> note_on_selection(const QuantizeOptions& options,
                                             const qwen3_vl::Config& config);

}  // namespace squint::quantize
