#include "core/dtype.h"

#include <array>
#include <cmath>
#include <utility>

#include "base/check.h"

namespace squint {
namespace {

struct Entry {
  DType dtype;
  std::string_view name;
  int64_t bytes;
};

constexpr std::array<Entry, 9> kTypes = {{{DType::u8, "U8", 1},
                                          {DType::i8, "I8", 1},
                                          {DType::i16, "I16", 2},
                                          {DType::i32, "I32", 4},
                                          {DType::i64, "I64", 8},
                                          {DType::f16, "F16", 2},
                                          {DType::bf16, "BF16", 2},
                                          {DType::f32, "F32", 4},
                                          {DType::f64, "F64", 8}}};

const Entry& entry(DType dtype) {
  const Entry& e = kTypes.at(static_cast<size_t>(dtype));
  SQUINT_DCHECK(e.dtype == dtype);
  return e;
}

}  // namespace

int64_t byte_size(DType dtype) { return entry(dtype).bytes; }

std::string_view name(DType dtype) { return entry(dtype).name; }

std::optional<DType> dtype_from_name(std::string_view name) {
  for (const Entry& e : kTypes) {
    if (e.name == name) return e.dtype;
  }
  return std::nullopt;
}

float to_float(f16 x) {
  const int exponent = (x.bits >> 10) & 31;
  const int fraction = x.bits & 1023;
  float value = 0;
  if (exponent == 31) {
    value = fraction == 0 ? INFINITY : NAN;
  } else if (exponent == 0) {
    value = std::ldexp(static_cast<float>(fraction), -24);
  } else {
    value = std::ldexp(static_cast<float>(1024 + fraction), exponent - 25);
  }
  return (x.bits & 0x8000) != 0 ? -value : value;
}

}  // namespace squint
