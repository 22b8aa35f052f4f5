// synthetic_values.h: random weights with the spread and the outliers of trained ones.
//
//     w[r, c] = scale * N(0, 1) * row[r] / column[c]
//
// Rows and columns vary log-normally. Some channels carry a power of two: gains and rows are
// multiplied by it, the columns that read them are divided by it. Products are as without, but the
// activations between have the outliers that plain rounding suffers from.
//
// A value depends on the seed, the tensor's name and its place alone, so any part can be drawn on
// its own, by any thread.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/dtype.h"
#include "core/shape.h"

namespace squint::tools {

struct TensorPlan {
  std::string name;
  Shape shape;         // the first size counts rows, the others are a row
  bool gains = false;  // of a norm: positive, around 1; one number a row
  float scale = 1;
  float row_spread = 0;  // standard deviation of the logarithm
  float column_spread = 0;
  // Names of patterns of outliers; empty: none.
  std::string row_outliers;
  std::string column_outliers;
};

class SyntheticValues {
 public:
  SyntheticValues(const TensorPlan& plan, uint64_t seed);

  int64_t rows() const { return plan_.shape[0]; }
  int64_t columns() const { return static_cast<int64_t>(column_.size()); }
  // Row r into columns() values.
  void fill(int64_t r, std::span<bf16> out) const;

 private:
  const TensorPlan& plan_;
  uint64_t seed_;
  uint64_t key_;
  std::vector<float> column_;
};

}  // namespace squint::tools
