// quantile.h: a value below which a given share of others lies.
#pragma once

#include <span>

namespace squint {

// The q-quantile (0 <= q <= 1) of ascending values, interpolated linearly between neighbours.
double quantile(std::span<const double> ascending, double q);

}  // namespace squint
