// recipe.h: what is to be done, or was, in the form that llm-compressor reads and writes (spec
// awq-w4a16.md §4.6, §6). What llm-compressor has no key for stands in comments:
//
//     # squint: rounds 2, propagation 0.5, image weight 0.3
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "quantize/module_schemes.h"
#include "squint/quantize.h"

namespace squint::quantize {

inline constexpr std::string_view kRecipeComment = "# squint: ";

// "memoryless_mse": an observer as compressed-tensors files name it.
std::string_view observer_in_files(RangeObserver observer);

// recipe.yaml. Equal options and schemes give equal text. Where all layers have one scheme,
// read_recipe makes the same options of it, but for calibration sources.
std::string recipe_yaml(const QuantizeOptions& options, const ModuleSchemes& schemes);

// apply_recipe, of a text; `where` starts messages.
std::vector<std::string> read_recipe(std::string_view text, std::string_view where,
                                     QuantizeOptions& options);

}  // namespace squint::quantize
