// linear_weight.h: the weight of y = x Wᵀ + b in the forms it takes on its way to a kernel.
#pragma once

#include <memory>
#include <optional>
#include <variant>

#include "core/packed_int.h"
#include "core/quantization.h"
#include "core/tensor.h"

namespace squint {

// What a backend made of a weight at load; only that backend can look inside.
class PreparedWeight {
 public:
  virtual ~PreparedWeight() = default;
};

// How a weight is stored, of one that need not be there: its size says what it will take.
struct WeightForm {
  int64_t out_features = 0;
  int64_t in_features = 0;
  DType dtype = DType::bf16;                 // of a dense one: bf16, f16 or f32
  std::optional<QuantizationScheme> scheme;  // of a packed one
  bool eight_bits_do = false;
};

struct LinearWeight {
  int64_t out_features = 0;
  int64_t in_features = 0;
  // Dense [out, in] in bf16, f16 or f32; packed integers as stored; or, after Backend::prepare,
  // opaque.
  std::variant<Tensor, PackedLinear, std::shared_ptr<const PreparedWeight>> weight;
  Tensor bias;  // f32 [out], or empty
  // Fast mode may keep a 16-bit weight in eight bits: measured for a model's role, not its values.
  bool eight_bits_do = false;
};

}  // namespace squint
