// recipe.h: what was done, in the form that llm-compressor writes (spec awq-w4a16.md §4.6).
#pragma once

#include <string>

#include "quantize/module_schemes.h"
#include "squint/quantize.h"

namespace squint::quantize {

// "memoryless_mse": an observer as compressed-tensors files name it.
std::string_view observer_in_files(RangeObserver observer);

// recipe.yaml. Equal options and schemes give equal text.
std::string recipe_yaml(const QuantizeOptions& options, const ModuleSchemes& schemes);

}  // namespace squint::quantize
