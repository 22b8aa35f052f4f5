#include "base/checked_math.h"

#include <gtest/gtest.h>

#include <limits>

namespace squint {
namespace {

constexpr int64_t kMost = std::numeric_limits<int64_t>::max();
constexpr int64_t kLeast = std::numeric_limits<int64_t>::min();

TEST(CheckedMath, Products) {
  EXPECT_EQ(checked_mul(6, 7), 42);
  EXPECT_EQ(checked_mul(0, kMost), 0);
  EXPECT_EQ(checked_mul(1, kMost), kMost);
  EXPECT_EQ(checked_mul(int64_t{1} << 31, int64_t{1} << 31), int64_t{1} << 62);
  EXPECT_EQ(checked_mul(int64_t{1} << 32, int64_t{1} << 31), std::nullopt);
  EXPECT_EQ(checked_mul(2, kMost / 2 + 1), std::nullopt);
  EXPECT_EQ(checked_mul(kMost, kMost), std::nullopt);
  EXPECT_EQ(checked_mul(-1, 5), std::nullopt);
  EXPECT_EQ(checked_mul(5, -1), std::nullopt);
  EXPECT_EQ(checked_mul(-2, -3), std::nullopt) << "negative sizes are wrong even in pairs";
  EXPECT_EQ(checked_mul(kLeast, 1), std::nullopt);
}

TEST(CheckedMath, Sums) {
  EXPECT_EQ(checked_add(40, 2), 42);
  EXPECT_EQ(checked_add(kMost, 0), kMost);
  EXPECT_EQ(checked_add(kMost - 1, 1), kMost);
  EXPECT_EQ(checked_add(kMost, 1), std::nullopt);
  EXPECT_EQ(checked_add(kMost, kMost), std::nullopt);
  EXPECT_EQ(checked_add(-1, 5), std::nullopt);
  EXPECT_EQ(checked_add(5, -1), std::nullopt);
}

TEST(CheckedMath, Rounding) {
  EXPECT_EQ(ceil_div(0, 16), 0);
  EXPECT_EQ(ceil_div(1, 16), 1);
  EXPECT_EQ(ceil_div(16, 16), 1);
  EXPECT_EQ(ceil_div(17, 16), 2);
  EXPECT_EQ(round_up(0, 16), 0);
  EXPECT_EQ(round_up(1, 16), 16);
  EXPECT_EQ(round_up(16, 16), 16);
  EXPECT_EQ(round_up(17, 16), 32);
  EXPECT_EQ(round_up(7, 1), 7);
}

}  // namespace
}  // namespace squint
