// stored_forms.h: how config.json says that weights are stored, without looking at them.
#pragma once

#include <optional>
#include <string_view>

#include "base/json.h"
#include "core/quantization.h"
#include "models/qwen3_vl/footprint.h"

namespace squint::qwen3_vl {

// `assumed`: as if `squint quantize` had packed the text layers so. Throws Error(usage) where they
// are packed already, Error(unsupported) or Error(bad_input) for what parse of a
// quantization_config throws and for another dtype than bf16, f16 and f32.
FormOf stored_forms(const Json& config, std::string_view where,
                    const std::optional<QuantizationScheme>& assumed = {});

// "BF16", "W4A16, groups of 128": of the layer that most weights are in.
std::string form_text(const WeightForm& form);

}  // namespace squint::qwen3_vl
