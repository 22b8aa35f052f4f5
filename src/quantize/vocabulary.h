// vocabulary.h: the two matrices with a row for each token, embeddings and head, in 8 bits where
// the options ask for it. They are rounded to nearest while they are written, some rows at a time.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "io/quantization_config.h"
#include "io/safetensors.h"
#include "models/qwen3_vl/config.h"
#include "models/qwen3_vl/weights.h"
#include "ops/context.h"
#include "squint/quantize.h"

namespace squint::quantize {

// Those that the options pack: names of modules, sorted.
std::vector<std::string> packed_tables(const QuantizeOptions& options);
QuantizationScheme table_scheme(const QuantizeOptions& options);
// Their group in config.json. Each is named: a class would also name other layers.
io::QuantizationGroup table_group(const QuantizeOptions& options);
// The module that a target names, where it is one of the two and nothing else.
std::optional<std::string> table_named(const std::string& target);

// Throws Error(usage) for bits that cannot be, Error(bad_input) where groups do not divide the
// hidden size, Error(unsupported) where both are one matrix or not in BF16.
void check_tables(const QuantizeOptions& options, const qwen3_vl::Config& config,
                  const qwen3_vl::Weights& weights);

// What a table becomes on disk. `cx` and `weights` must outlive the tensors.
std::vector<io::StreamedTensor> packed_table(Context& cx, const qwen3_vl::Weights& weights,
                                             const std::string& module,
                                             const QuantizationScheme& scheme);

}  // namespace squint::quantize
