#include "base/numpy_permutation.h"

#include <gtest/gtest.h>

namespace squint {
namespace {

using Numbers = std::vector<int64_t>;

Numbers head(const Numbers& all, size_t count) { return {all.begin(), all.begin() + count}; }
Numbers tail(const Numbers& all, size_t count) { return {all.end() - count, all.end()}; }

// Spec ocrbench-data-hubs.md §3.5; seeds beyond 32 bits from NumPy 2.
TEST(NumpyPermutationTest, GivesNumpysNumbers) {
  EXPECT_EQ(numpy_permutation(42, 10), (Numbers{5, 6, 0, 7, 3, 2, 4, 9, 1, 8}));
  EXPECT_EQ(numpy_permutation(3, 5), (Numbers{4, 2, 1, 3, 0}));
  const Numbers small = numpy_permutation(42, 256);
  EXPECT_EQ(head(small, 10), (Numbers{168, 26, 239, 179, 245, 227, 128, 3, 210, 38}));
  EXPECT_EQ(tail(small, 3), (Numbers{193, 205, 136}));
  const Numbers large = numpy_permutation(42, 10000);
  EXPECT_EQ(head(large, 10), (Numbers{8132, 8268, 719, 8237, 4555, 6651, 5650, 9034, 1260, 644}));
  EXPECT_EQ(tail(large, 3), (Numbers{5668, 5729, 9864}));
  EXPECT_EQ(head(numpy_permutation(42, 31783), 4), (Numbers{15858, 12361, 29672, 18088}));
  EXPECT_EQ(numpy_permutation(0u, 8), (Numbers{2, 4, 3, 6, 5, 0, 1, 7}));
  EXPECT_EQ(numpy_permutation(4294967297u, 8), (Numbers{6, 1, 4, 0, 3, 2, 5, 7}));
  EXPECT_EQ(numpy_permutation(18446744073709551615u, 8), (Numbers{0, 4, 3, 5, 6, 1, 2, 7}));
}

TEST(NumpyPermutationTest, OfNothingAndOfOne) {
  EXPECT_EQ(numpy_permutation(42, 0), Numbers{});
  EXPECT_EQ(numpy_permutation(42, 1), Numbers{0});
}

}  // namespace
}  // namespace squint
