// slopes.h: a gradient beside central differences of what it is the gradient of.
#pragma once

#include <functional>

#include "core/tensor.h"

namespace squint::test {

struct SlopeTolerance {
  float step = 1e-2f;
  double error = 5e-3;  // of 1 + |slope|
};

// `gradient` should be d(Σ c ∘ run())/dx; some fifty values of `x` are moved, and moved back.
void expect_slopes(const Tensor& x, const Tensor& c, const Tensor& gradient,
                   const std::function<Tensor()>& run, SlopeTolerance tolerance = {});

}  // namespace squint::test
