#include "base/random.h"

#include <gtest/gtest.h>

#include <array>

namespace squint {
namespace {

// splitmix64(0) begins e220a8397b1dcdaf, 6e789e6aa1b965f4, 06c45d188009454f, f88bb8a8724c81ec
// (its authors' test vector); these are xoshiro256**'s first outputs from that state.
TEST(Random, TheStreamNeverChanges) {
  Random random(0);
  for (const uint64_t expected : {0x99ec5f36cb75f2b4u, 0xbf6e1f784956452au, 0x1a5f849d4933e6e0u,
                                  0x6aa594f1262d2d2cu, 0xbba5ad4a1f842e59u}) {
    EXPECT_EQ(random.next(), expected);
  }
}

TEST(Random, SeedsDiffer) {
  EXPECT_NE(Random(1).next(), Random(2).next());
  EXPECT_EQ(Random(7).next(), Random(7).next());
}

TEST(Random, UniformIsInTheHalfOpenUnitInterval) {
  Random random(3);
  double sum = 0;
  double least = 1;
  double most = 0;
  constexpr int kDraws = 100000;
  for (int i = 0; i < kDraws; ++i) {
    const double x = random.uniform();
    ASSERT_GE(x, 0);
    ASSERT_LT(x, 1);
    sum += x;
    least = std::min(least, x);
    most = std::max(most, x);
  }
  EXPECT_NEAR(sum / kDraws, 0.5, 0.005);  // more than five standard deviations
  EXPECT_LT(least, 0.001);
  EXPECT_GT(most, 0.999);
}

TEST(Random, BelowIsEven) {
  Random random(4);
  std::array<int, 7> seen{};
  constexpr int kDraws = 70000;
  for (int i = 0; i < kDraws; ++i) ++seen.at(random.below(seen.size()));
  for (const int times : seen) EXPECT_NEAR(times, 10000, 500);
}

TEST(Random, BelowAtTheEdges) {
  Random random(5);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(random.below(1), 0u);
  // A modulus alone would give the lowest third twice its share: a quarter of the draws must be
  // thrown away.
  constexpr uint64_t kThird = uint64_t{1} << 62;
  constexpr uint64_t kBound = 3 * kThird;
  int high = 0;
  for (int i = 0; i < 2000; ++i) {
    const uint64_t x = random.below(kBound);
    ASSERT_LT(x, kBound);
    if (x >= kThird) ++high;
  }
  EXPECT_NEAR(high, 1333, 120);  // more than five standard deviations
}

// A bound that is a power of two needs no rejection.
TEST(Random, BelowAPowerOfTwoIsTheRemainder) {
  Random a(6);
  Random b(6);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(a.below(1024), b.next() % 1024);
}

}  // namespace
}  // namespace squint
