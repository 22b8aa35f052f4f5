// compressed_tensors.h: the tensors of one quantized linear layer in the compressed-tensors
// `pack-quantized` format (spec awq-w4a16.md §4.1).
//
//     MODULE.weight_packed      i32   [out, ceil(in * bits / 32)]
//     MODULE.weight_scale       bf16  [out, groups]
//     MODULE.weight_shape       i64   [2] = out, in
//     MODULE.weight_zero_point  i32   [ceil(out * bits / 32), groups]   only when asymmetric
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/packed_int.h"
#include "io/checkpoint.h"
#include "io/quantization_config.h"
#include "io/safetensors.h"

namespace squint::io {

// The packed weight of a linear layer, sharing the checkpoint's mapping; nothing where the
// checkpoint has no MODULE.weight_packed. Error(bad_input) where its tensors contradict each other
// or the config; Error(unsupported) for column orders (weight_g_idx) and scales that are not bf16.
std::optional<PackedLinear> find_packed_linear(const Checkpoint& checkpoint,
                                               const std::string& module,
                                               const QuantizationConfig& config);

// The tensors to write for a layer, under their names on disk.
void append_packed_linear(std::vector<NamedTensor>& out, const std::string& module,
                          const PackedLinear& linear);

}  // namespace squint::io
