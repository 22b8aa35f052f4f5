// module_schemes.h: which linear layer of the language model gets which scheme.
//
// Loaders make one layer of q, k and v, and one of gate and up (spec awq-w4a16.md §5.1): these
// units have one scheme each.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/quantization.h"
#include "io/checkpoint.h"
#include "io/quantization_config.h"
#include "models/qwen3_vl/decoder_block.h"
#include "squint/quantize.h"

namespace squint::quantize {

// Linear layers that share an input, in the order of the forward pass.
using LinearUnit = std::vector<qwen3_vl::LinearRole>;
const std::vector<LinearUnit>& linear_units();
std::string unit_name(const LinearUnit& unit);  // "q, k, v"

// By role; nothing for a layer that stays in BF16.
struct BlockSchemes {
  std::array<std::optional<QuantizationScheme>, qwen3_vl::kLinearRoles> linears;

  std::optional<QuantizationScheme>& operator[](qwen3_vl::LinearRole role) {
    return linears[static_cast<size_t>(role)];
  }
  const std::optional<QuantizationScheme>& operator[](qwen3_vl::LinearRole role) const {
    return linears[static_cast<size_t>(role)];
  }
  friend bool operator==(const BlockSchemes&, const BlockSchemes&) = default;
};
using ModuleSchemes = std::vector<BlockSchemes>;  // by layer

// Whether options.targets and options.ignore mean it to be quantized.
bool is_selected(const QuantizeOptions& options, std::string_view module);

QuantizationScheme common_scheme(const QuantizeOptions& options, int bits, int64_t group_size);

// What is selected has the scheme of the options, but for options.overrides, the last of which
// wins. Throws Error(usage) for one that matches no layer, and where they leave a unit with two
// schemes, or nothing to quantize.
ModuleSchemes module_schemes(const QuantizeOptions& options, int64_t layers);
// do_one(layer, role, shape, scheme) for every linear layer of `schemes`.
template <class DoOne>
void for_each_linear(const io::Checkpoint& checkpoint, const ModuleSchemes& schemes,
                     const DoOne& do_one) {
  for (size_t layer = 0; layer < schemes.size(); ++layer) {
    for (const qwen3_vl::LinearRole role : qwen3_vl::kAllLinears) {
      const auto at = static_cast<int64_t>(layer);
      const std::string name = qwen3_vl::module_name(at, role) + ".weight";
      do_one(at, role, checkpoint.get(name).shape(), schemes[layer][role]);
    }
  }
}
// Whether the options leave no choice of its scheme.
bool is_fixed(const QuantizeOptions& options, const std::string& module);

// The groups of config.json: "Linear" where there is one, expressions where there are several. A
// name would not do: vLLM compares the class of a fused layer with "Linear" before it looks at the
// names of its parts, and translates names, but no expressions, to its own prefixes.
std::vector<io::QuantizationGroup> config_groups(const ModuleSchemes& schemes,
                                                 std::string_view observer);
std::vector<std::string> unquantized_modules(const ModuleSchemes& schemes);

// What a layer [out, in] takes on disk, scales and zero points counted.
int64_t stored_bits(int64_t out, int64_t in, const std::optional<QuantizationScheme>& scheme);

}  // namespace squint::quantize
