// recipe.h: what was done, in the form that llm-compressor writes (spec awq-w4a16.md §4.6).
#pragma once

#include <string>

#include "squint/quantize.h"

namespace squint::quantize {

// recipe.yaml. Equal options give equal text.
std::string recipe_yaml(const QuantizeOptions& options);

}  // namespace squint::quantize
