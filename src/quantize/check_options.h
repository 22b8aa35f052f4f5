// check_options.h: what options may say, before anything is read.
#pragma once

#include "squint/quantize.h"

namespace squint::quantize {

// Whether the method rounds column after column, as gptq.h does it.
bool has_feedback(const QuantizeOptions& options);
// Whether what tokens count is measured, as token_weights.h does it.
bool measures_tokens(const QuantizeOptions& options);

// Throws Error(usage), and Error(bad_input) for an output that is not vacant. `observer` is chosen.
void check_options(const QuantizeOptions& options);

}  // namespace squint::quantize
