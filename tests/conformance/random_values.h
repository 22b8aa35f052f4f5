// random_values.h: inputs of the conformance tests, the same for the same seed on every platform.
#pragma once

#include <cstdint>
#include <vector>

#include "base/random.h"
#include "core/dtype.h"

namespace squint::test {

// Bell-shaped with mean 0 and standard deviation 1, within ±3.5.
inline float bell(Random& random) {
  double sum = -2;
  for (int i = 0; i < 4; ++i) sum += random.uniform();
  return static_cast<float>(sum * 1.7320508075688772);
}

inline std::vector<float> random_values(int64_t count, uint64_t seed, float scale = 1) {
  Random random(seed);
  std::vector<float> values(static_cast<size_t>(count));
  for (float& x : values) x = bell(random) * scale;
  return values;
}

inline std::vector<bf16> random_bf16(int64_t count, uint64_t seed, float scale = 1) {
  Random random(seed);
  std::vector<bf16> values(static_cast<size_t>(count));
  for (bf16& x : values) x = to_bf16(bell(random) * scale);
  return values;
}

}  // namespace squint::test
