// weights.h: a checkpoint's tensors by role, checked against the configuration before use.
//
// Every accessor throws Error(bad_input) naming the tensor, its file, what was expected and what
// was found: absent, wrong shape, wrong dtype, NaN or infinity.
#pragma once

#include <optional>
#include <string>
#include <variant>

#include "io/checkpoint.h"
#include "io/compressed_tensors.h"
#include "ops/backend.h"

namespace squint::qwen3_vl {

class Weights {
 public:
  // Keeps a reference to the checkpoint.
  explicit Weights(const io::Checkpoint& checkpoint);

  const io::Checkpoint& checkpoint() const { return checkpoint_; }
  const std::optional<io::QuantizationConfig>& quantization() const { return quantization_; }

  // Presence, shape and dtype, without reading the values.
  Tensor expected(const std::string& name, const Shape& shape) const;
  // Throws where a value is not finite; integers always are.
  void expect_finite(const std::string& name) const;
  // As stored (bf16, f16 or f32), finite.
  Tensor stored(const std::string& name, const Shape& shape) const;
  // In float32 on the backend's device.
  Tensor vector(Backend& backend, const std::string& name, int64_t size) const;
  // MODULE.weight dense, or packed where the checkpoint is quantized; MODULE.bias where asked for.
  // Not yet prepared.
  LinearWeight linear(const std::string& module, int64_t out, int64_t in, bool bias = false) const;

 private:
  const io::Checkpoint& checkpoint_;
  std::optional<io::QuantizationConfig> quantization_;
};

}  // namespace squint::qwen3_vl
