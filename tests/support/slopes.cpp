#include "support/slopes.h"

#include <gtest/gtest.h>

#include <cmath>

namespace squint::test {

void expect_slopes(const Tensor& x, const Tensor& c, const Tensor& gradient,
                   const std::function<Tensor()>& run, SlopeTolerance tolerance) {
  const auto loss = [&] {
    const Tensor out = run();
    double sum = 0;
    for (int64_t i = 0; i < out.numel(); ++i) {
      sum += double{out.span<const float>()[i]} * c.span<const float>()[i];
    }
    return sum;
  };
  for (int64_t i = 0; i < x.numel(); i += 1 + x.numel() / 50) {
    float& value = x.span<float>()[i];
    const float before = value;
    value = before + tolerance.step;
    const double above = loss();
    value = before - tolerance.step;
    const double below = loss();
    value = before;
    const double slope = (above - below) / (2 * double{tolerance.step});
    EXPECT_NEAR(gradient.span<const float>()[i], slope, tolerance.error * (1 + std::abs(slope)))
        << i;
  }
}

}  // namespace squint::test
