// dtype.h: element types as safetensors names them, and the 16-bit float formats.
#pragma once

#include <bit>
#include <cstdint>
#include <optional>
#include <string_view>

namespace squint {

enum class DType : uint8_t { u8, i8, i16, i32, i64, f16, bf16, f32, f64 };

int64_t byte_size(DType dtype);
std::string_view name(DType dtype);                           // "BF16", as in safetensors
std::optional<DType> dtype_from_name(std::string_view name);  // nothing for a type we do not know

// bfloat16: the upper half of a float32.
struct bf16 {
  uint16_t bits;
  friend bool operator==(bf16, bf16) = default;
};
static_assert(sizeof(bf16) == 2);

inline float to_float(bf16 x) { return std::bit_cast<float>(static_cast<uint32_t>(x.bits) << 16); }

// Rounds to nearest, ties to even; NaN stays NaN.
inline bf16 to_bf16(float x) {
  const auto bits = std::bit_cast<uint32_t>(x);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return {static_cast<uint16_t>((bits >> 16) | 0x40u)};
  return {static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16)};
}

inline float round_to_bf16(float x) { return to_float(to_bf16(x)); }

// IEEE half precision.
struct f16 {
  uint16_t bits;
  friend bool operator==(f16, f16) = default;
};
float to_float(f16 x);

}  // namespace squint
