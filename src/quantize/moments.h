// moments.h: products with sums over tokens.
#pragma once

#include <functional>

#include "ops/ops.h"

namespace squint::quantize {

// Of a second form of the matrix, on the host.
constexpr int64_t kMomentColumns = 1024;

// x · Mᵀ for x [rows, n] and M [n, n], both on the device; on the host kMomentColumns at a time:
// its backend lays weights out anew, and need not hold all of M twice. `take` is handed the first
// column, and [rows, count] on the device, which it may not keep.
void multiply_in_parts(Context& cx, const Tensor& x, const Tensor& m,
                       const std::function<void(int64_t first, const Tensor& columns)>& take);

}  // namespace squint::quantize
