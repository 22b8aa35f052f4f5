// linear_weights.h: random weights of linear layers in every form that a checkpoint has.
//
// Weights are scaled so that rows of order one give outputs of order one.
#pragma once

#include <cstdint>

#include "core/quantization.h"
#include "ops/linear_weight.h"

namespace squint::test {

struct WeightSize {
  int64_t in;
  int64_t out;
  bool bias = false;
  uint64_t seed;
};

LinearWeight dense_f32(const WeightSize& size);
LinearWeight dense_bf16(const WeightSize& size);
// Every code and every zero point of the scheme may occur. The groups must divide size.in.
LinearWeight packed(const WeightSize& size, const QuantizationScheme& scheme);

}  // namespace squint::test
