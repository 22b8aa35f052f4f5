#include "base/quantile.h"

#include <gtest/gtest.h>

#include <vector>

namespace squint {
namespace {

TEST(Quantile, Interpolates) {
  const std::vector<double> values = {1, 2, 4};
  EXPECT_DOUBLE_EQ(quantile(values, 0), 1);
  EXPECT_DOUBLE_EQ(quantile(values, 0.25), 1.5);
  EXPECT_DOUBLE_EQ(quantile(values, 0.75), 3);
  EXPECT_DOUBLE_EQ(quantile(values, 1), 4);
}

}  // namespace
}  // namespace squint
