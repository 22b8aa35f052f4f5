// quantization_cases.h: weight matrices that rounding finds hard, and the schemes to round them by.
#pragma once

#include <string>
#include <vector>

#include "core/quantization.h"

namespace squint::test {

struct WeightMatrix {
  std::string name;
  Tensor weight;  // bf16 [rows, cols]
};

// Random, constant, empty, huge, tiny and one-sided groups, ties and outliers. rows >= 1.
std::vector<WeightMatrix> hard_matrices(int64_t rows, int64_t cols, uint64_t seed);

// Both widths, both symmetries, for this group size.
std::vector<QuantizationScheme> schemes_with(int64_t group_size);
std::string describe(const QuantizationScheme& scheme);

}  // namespace squint::test
