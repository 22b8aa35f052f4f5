#include "quantize/bit_budget.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/random.h"

namespace squint::quantize {
namespace {

using Units = std::vector<std::vector<BitOption>>;

struct Sum {
  int64_t size = 0;
  double loss = 0;
};

Sum sum_of(const Units& units, const std::vector<size_t>& chosen) {
  Sum sum;
  for (size_t u = 0; u < units.size(); ++u) {
    sum.size += units[u][chosen[u]].size;
    sum.loss += units[u][chosen[u]].loss;
  }
  return sum;
}

double least_of_all(const Units& units, int64_t capacity) {
  std::vector<size_t> chosen(units.size());
  double least = INFINITY;
  while (true) {
    const Sum sum = sum_of(units, chosen);
    if (sum.size <= capacity) least = std::min(least, sum.loss);
    size_t u = 0;
    while (u < units.size() && ++chosen[u] == units[u].size()) chosen[u++] = 0;
    if (u == units.size()) return least;
  }
}

TEST(BitBudget, FindsTheLeastLoss) {
  for (uint64_t seed = 1; seed <= 50; ++seed) {
    SCOPED_TRACE(seed);
    Random random(seed);
    Units units(6);
    int64_t smallest = 0;
    for (auto& unit : units) {
      const auto size = static_cast<int64_t>(1 + random.uniform() * 9) * 12;
      unit = {{size, random.uniform()}, {2 * size, 0.1 * random.uniform()}, {4 * size, 0}};
      smallest += size;
    }
    for (const double factor : {1.0, 1.1, 1.7, 3.0, 5.0}) {
      const auto capacity = static_cast<int64_t>(factor * static_cast<double>(smallest));
      const Sum sum = sum_of(units, least_loss(units, capacity));
      EXPECT_LE(sum.size, capacity);
      EXPECT_NEAR(sum.loss, least_of_all(units, capacity), 1e-12);
    }
  }
}

TEST(BitBudget, SizesWithoutACommonDivisorNeverGoOver) {
  const Units units = {{{1'000'003, 1.0}, {2'000'033, 0.0}}, {{999'983, 0.9}, {1'999'993, 0.0}}};
  const int64_t both = 2'000'033 + 1'999'993;
  EXPECT_LE(sum_of(units, least_loss(units, both - 1)).size, both - 1);
  EXPECT_EQ(least_loss(units, both + 100), (std::vector<size_t>{1, 1}));
  EXPECT_EQ(least_loss(units, 2'000'033 + 999'983 + 100), (std::vector<size_t>{1, 0}));
}

TEST(BitBudget, EqualLossTakesTheSmaller) {
  const Units units = {{{10, 0.5}, {20, 0.5}}};
  EXPECT_EQ(least_loss(units, 100), std::vector<size_t>{0});
}

}  // namespace
}  // namespace squint::quantize
