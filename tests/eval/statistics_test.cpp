#include "eval/statistics.h"

#include <gtest/gtest.h>

#include <cmath>

#include "squint/error.h"

namespace squint::eval {
namespace {

TEST(Statistics, WilsonTable) {
  struct Case {
    int64_t hits, n;
    double low, high;
  };
  // spec ocrbench-data-hubs.md §2.2
  for (const Case& c : {Case{45, 50, 0.7864, 0.9565},
                        {50, 50, 0.9287, 1},
                        {180, 200, 0.8506, 0.9343},
                        {60, 100, 0.5020, 0.6906},
                        {880, 1000, 0.8584, 0.8987},
                        {896, 1000, 0.8755, 0.9134}}) {
    const Interval interval = wilson_interval(c.hits, c.n);
    EXPECT_NEAR(interval.low, c.low, 5e-5) << c.hits;
    EXPECT_NEAR(interval.high, c.high, 5e-5) << c.hits;
  }
}

TEST(Statistics, WilsonAtTheEdges) {
  EXPECT_EQ(wilson_interval(0, 0).low, 0);
  EXPECT_EQ(wilson_interval(0, 0).high, 1);
  EXPECT_EQ(wilson_interval(0, 7).low, 0);
  EXPECT_EQ(wilson_interval(7, 7).high, 1);
  EXPECT_NEAR(wilson_interval(0, 50).high, 1 - 0.9287, 5e-5);
  EXPECT_THROW(wilson_interval(8, 7), InternalError);
}

TEST(Statistics, McNemarTable) {
  struct Case {
    int64_t b, c;
    double p, chi2;
  };
  // spec ocrbench-data-hubs.md §2.4
  for (const Case& c : {Case{10, 4, 0.179565, 1.7857},
                        {12, 3, 0.035156, 4.2667},
                        {20, 8, 0.035698, 4.3214},
                        {30, 15, 0.035698, 4.3556},
                        {40, 22, 0.030016, 4.6613},
                        {5, 0, 0.0625, 3.2},
                        {6, 0, 0.03125, 4.1667},
                        {25, 25, 1, 0.02}}) {
    EXPECT_NEAR(mcnemar_exact(c.b, c.c), c.p, 6e-7) << c.b;
    EXPECT_EQ(mcnemar_exact(c.c, c.b), mcnemar_exact(c.b, c.c)) << c.b;
    EXPECT_NEAR(mcnemar_chi2(c.b, c.c), c.chi2, 6e-5) << c.b;
  }
}

TEST(Statistics, McNemarAtTheEdges) {
  EXPECT_EQ(mcnemar_exact(0, 0), 1);
  EXPECT_EQ(mcnemar_exact(1, 0), 1);
  EXPECT_NEAR(mcnemar_exact(1000, 0), std::ldexp(1.0, -999), std::ldexp(1.0, -1040));
  EXPECT_EQ(mcnemar_exact(100'000, 0), 0);
  EXPECT_EQ(mcnemar_exact(50'000, 50'000), 1);
  EXPECT_THROW(mcnemar_chi2(0, 0), InternalError);
}

TEST(Statistics, HolmStepsDown) {
  const std::vector<double> p = {0.01, 0.04, 0.03, 0.005};
  const std::vector<double> adjusted = holm_adjust(p);
  ASSERT_EQ(adjusted.size(), 4u);
  EXPECT_DOUBLE_EQ(adjusted[3], 0.02);
  EXPECT_DOUBLE_EQ(adjusted[0], 0.03);
  EXPECT_DOUBLE_EQ(adjusted[2], 0.06);
  EXPECT_DOUBLE_EQ(adjusted[1], 0.06);  // 0.04 alone would fall below the one before it.
  EXPECT_EQ(holm_adjust(std::vector<double>{0.7, 0.9}), (std::vector<double>{1, 1}));
  EXPECT_TRUE(holm_adjust({}).empty());
}

std::vector<PairedRow> example_rows() {
  std::vector<PairedRow> rows;
  for (int i = 0; i < 60; ++i) {
    rows.push_back({.stratum = i / 20,
                    .cluster = i / 2,
                    .difference = i % 7 == 0    ? -1
                                  : i % 11 == 0 ? 1
                                                : 0});
  }
  return rows;
}

TEST(Bootstrap, SameSeedSameInterval) {
  const auto rows = example_rows();
  const Interval pinned = bootstrap_difference(rows, {.resamples = 10'000, .seed = 0});
  const Interval again = bootstrap_difference(rows, {.resamples = 10'000, .seed = 0});
  EXPECT_EQ(pinned.low, again.low);
  EXPECT_EQ(pinned.high, again.high);
  // As an independent implementation of the same draws computes them.
  EXPECT_DOUBLE_EQ(pinned.low, -11.0 / 60);
  EXPECT_DOUBLE_EQ(pinned.high, 3.0 / 60);
  EXPECT_NEAR((pinned.low + pinned.high) / 2, -4.0 / 60, 0.02);
}

TEST(Bootstrap, StrataKeepTheirSize) {
  // One stratum all gains, one all losses: however it is drawn, the difference is the same.
  std::vector<PairedRow> rows;
  for (int i = 0; i < 30; ++i) {
    rows.push_back({.stratum = i < 10 ? 0 : 1, .cluster = i / 3, .difference = i < 10 ? 1 : -1});
  }
  const Interval interval = bootstrap_difference(rows, {.resamples = 200, .seed = 3});
  EXPECT_DOUBLE_EQ(interval.low, -1.0 / 3);
  EXPECT_DOUBLE_EQ(interval.high, -1.0 / 3);
}

// Rows of one image are not independent: drawn together they leave the difference less sure.
TEST(Bootstrap, ClustersWidenTheInterval) {
  std::vector<PairedRow> apart, together;
  for (int i = 0; i < 100; ++i) {
    const int difference = i < 20 ? -1 : 0;
    apart.push_back({.stratum = 0, .cluster = i, .difference = difference});
    together.push_back({.stratum = 0, .cluster = i / 10, .difference = difference});
  }
  const Interval narrow = bootstrap_difference(apart, {.resamples = 2000, .seed = 5});
  const Interval wide = bootstrap_difference(together, {.resamples = 2000, .seed = 5});
  EXPECT_GT(wide.high - wide.low, 2 * (narrow.high - narrow.low));
}

TEST(Bootstrap, Edges) {
  EXPECT_EQ(bootstrap_difference({}, {}).high, 0);
  EXPECT_THROW(bootstrap_difference({}, {.resamples = 0}), Error);
  EXPECT_THROW(bootstrap_difference({}, {.resamples = int64_t{1} << 40}), Error);
  const std::vector<PairedRow> one = {{.difference = 1}};
  EXPECT_EQ(bootstrap_difference(one, {.resamples = 1}).low, 1);
}

}  // namespace
}  // namespace squint::eval
