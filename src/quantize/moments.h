// moments.h: what sums over tokens, f32 [n, n], have in common.
#pragma once

#include <functional>
#include <span>

#include "ops/ops.h"

namespace squint::quantize {

// Divides a second moment (on the host), of which the diagonal and what is above it are there, by
// `weight`, and fills in the rest. False where a value is not finite.
bool take_mean(const Tensor& moment, double weight, ThreadPool& threads);

// Divides column j by weight * factors[j], or by `weight` where there are no factors. False where a
// value is not finite.
bool divide_columns(const Tensor& matrix, double weight, std::span<const float> factors,
                    ThreadPool& threads);

constexpr int64_t kMomentColumns = 1024;

// x · Mᵀ for x [rows, n] and M [n, n], both on the device, kMomentColumns at a time: a backend that
// lays weights out anew need not hold M twice. `take` is handed the first column, and [rows, count]
// on the device, which it may not keep.
void multiply_in_parts(Context& cx, const Tensor& x, const Tensor& m,
                       const std::function<void(int64_t first, const Tensor& columns)>& take);
// Into the columns of `to` from `first` on; both on the host.
void put_columns(const Tensor& columns, int64_t first, const Tensor& to);

}  // namespace squint::quantize
