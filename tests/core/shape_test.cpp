#include "core/shape.h"

#include <gtest/gtest.h>

#include <vector>

#include "squint/error.h"

namespace squint {
namespace {

TEST(Shape, SizesAndElements) {
  const Shape shape{2, 3, 4};
  EXPECT_EQ(shape.rank(), 3);
  EXPECT_EQ(shape[0], 2);
  EXPECT_EQ(shape[-1], 4);
  EXPECT_EQ(shape[-3], 2);
  EXPECT_EQ(shape.numel(), 24);
  EXPECT_EQ(Shape().numel(), 1) << "a scalar";
  EXPECT_EQ(Shape({5, 0}).numel(), 0);
  EXPECT_EQ(shape.dims().size(), 3u);
}

TEST(Shape, Comparison) {
  EXPECT_EQ(Shape({2, 3}), Shape({2, 3}));
  EXPECT_NE(Shape({2, 3}), Shape({3, 2}));
  EXPECT_NE(Shape({2}), Shape({2, 0})) << "the rank counts";
  EXPECT_NE(Shape(), Shape({1}));
}

TEST(Shape, Text) {
  EXPECT_EQ(Shape({4096, 1024}).to_string(), "[4096, 1024]");
  EXPECT_EQ(Shape().to_string(), "[]");
}

TEST(Shape, RankIsBounded) {
  const std::vector<int64_t> most(Shape::kMaxRank, 1);
  EXPECT_EQ(Shape(std::span<const int64_t>(most)).rank(), Shape::kMaxRank);
  const std::vector<int64_t> more(Shape::kMaxRank + 1, 1);
  EXPECT_THROW(Shape(std::span<const int64_t>(more)), InternalError);
}

}  // namespace
}  // namespace squint
