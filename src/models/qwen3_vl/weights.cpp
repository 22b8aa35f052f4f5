#include "models/qwen3_vl/weights.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "squint/error.h"

namespace squint::qwen3_vl {
namespace {

// Every exponent bit set means NaN or infinity.
template <class Bits>
bool all_finite(const Tensor& tensor, Bits exponent) {
  const auto* values = reinterpret_cast<const Bits*>(tensor.raw());
  const int64_t count = tensor.numel();
  Bits largest = 0;  // signed, of which every instruction set knows the larger of two vectors
  for (int64_t i = 0; i < count; ++i) {
    largest = std::max(largest, static_cast<Bits>(values[i] & exponent));
  }
  return largest != exponent;
}

bool is_finite(const Tensor& tensor) {
  switch (tensor.dtype()) {
    case DType::bf16:
      return all_finite<int16_t>(tensor, 0x7f80);
    case DType::f16:
      return all_finite<int16_t>(tensor, 0x7c00);
    case DType::f32:
      return all_finite<int32_t>(tensor, 0x7f800000);
    default:
      return true;
  }
}

std::string place(const io::Checkpoint& checkpoint, const std::string& name) {
  return fmt::format("{}: tensor \"{}\"",
                     (checkpoint.folder() / checkpoint.shard_of(name)).string(), name);
}

}  // namespace

Weights::Weights(const io::Checkpoint& checkpoint)
    : checkpoint_(checkpoint),
      quantization_(io::find_quantization_config(
          checkpoint.config(), (checkpoint.folder() / io::kConfigFileName).string())) {}

Tensor Weights::expected(const std::string& name, const Shape& shape) const {
  Tensor tensor = checkpoint_.get(name);
  const auto where = [&] { return place(checkpoint_, name); };
  if (!(tensor.shape() == shape)) {
    throw Error(ErrorCode::bad_input,
                fmt::format("{} has shape {}, config.json asks for {}; files of two checkpoints "
                            "mixed?",
                            where(), tensor.shape().to_string(), shape.to_string()));
  }
  if (tensor.dtype() != DType::bf16 && tensor.dtype() != DType::f16 &&
      tensor.dtype() != DType::f32) {
    throw Error(ErrorCode::bad_input, fmt::format("{} is {}, expected BF16, F16 or F32", where(),
                                                  squint::name(tensor.dtype())));
  }
  return tensor;
}

void Weights::expect_finite(const std::string& name) const {
  if (is_finite(checkpoint_.get(name))) return;
  throw Error(ErrorCode::bad_input,
              fmt::format("{} holds NaN or infinity; a damaged file or a diverged training?",
                          place(checkpoint_, name)));
}

Tensor Weights::stored(const std::string& name, const Shape& shape) const {
  Tensor tensor = expected(name, shape);
  expect_finite(name);
  return tensor;
}

Tensor Weights::vector(Backend& backend, const std::string& name, int64_t size) const {
  const Tensor host = to_f32(stored(name, {size}));
  Tensor out(backend.allocate(host.bytes()), 0, DType::f32, {size});
  backend.copy(host, out);
  return out;
}

LinearWeight Weights::linear(const std::string& module, int64_t out, int64_t in, bool bias) const {
  LinearWeight weight;
  weight.out_features = out;
  weight.in_features = in;
  if (bias) weight.bias = to_f32(stored(module + ".bias", {out}));
  std::optional<PackedLinear> packed;
  if (quantization_) packed = io::find_packed_linear(checkpoint_, module, *quantization_);
  if (!packed) {
    weight.weight = stored(module + ".weight", {out, in});
    return weight;
  }
  const auto where = [&](const char* suffix) { return place(checkpoint_, module + suffix); };
  if (packed->rows != out || packed->cols != in) {
    throw Error(
        ErrorCode::bad_input,
        fmt::format("{} is packed from [{}, {}], config.json asks for [{}, {}]; files of two "
                    "checkpoints mixed?",
                    where(".weight_packed"), packed->rows, packed->cols, out, in));
  }
  if (!is_finite(packed->scale)) {
    throw Error(ErrorCode::bad_input,
                fmt::format("{} holds NaN or infinity; a damaged file?", where(".weight_scale")));
  }
  weight.weight = std::move(*packed);
  return weight;
}

}  // namespace squint::qwen3_vl
