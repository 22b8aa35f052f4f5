#include "base/quantile.h"

#include <algorithm>
#include <cstddef>

#include "base/check.h"

namespace squint {

double quantile(std::span<const double> ascending, double q) {
  SQUINT_CHECK(!ascending.empty() && q >= 0 && q <= 1);
  const double at = q * static_cast<double>(ascending.size() - 1);
  const auto below = static_cast<size_t>(at);
  const size_t above = std::min(below + 1, ascending.size() - 1);
  const double weight = at - static_cast<double>(below);
  return ascending[below] + weight * (ascending[above] - ascending[below]);
}

}  // namespace squint
