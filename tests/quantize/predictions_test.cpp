#include "quantize/predictions.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace squint::quantize {
namespace {

TEST(KlDivergence, OfKnownDistributions) {
  // p = (1/2, 1/4, 1/4), q = (1/4, 1/4, 1/2); a constant added to logits changes nothing.
  const std::vector<float> p = {std::log(2.0f), 0, 0};
  const std::vector<float> q = {100, 100, 100 + std::log(2.0f)};
  EXPECT_NEAR(kl_divergence(p, q), 0.25 * std::log(2.0), 1e-6);
  EXPECT_EQ(kl_divergence(p, p), 0);
}

TEST(KlDivergence, IsNotSymmetric) {
  const std::vector<float> sure = {10, 0};
  const std::vector<float> even = {0, 0};
  EXPECT_NEAR(kl_divergence(sure, even), std::log(2.0), 1e-3);
  EXPECT_NEAR(kl_divergence(even, sure), 5 - std::log(2.0), 1e-3);
}

TEST(KlDivergence, SurvivesLargeLogits) {
  const std::vector<float> p = {3e38f, -3e38f};
  const std::vector<float> q = {-3e38f, 3e38f};
  EXPECT_TRUE(std::isfinite(kl_divergence(p, q)));
  EXPECT_EQ(kl_divergence(p, p), 0);
}

TEST(Summarize, MeansAndQuantiles) {
  std::vector<PredictedToken> tokens;
  for (const double kl : {4.0, 0.0, 3.0, 1.0, 2.0}) tokens.push_back({.kl = kl});
  tokens[0].same_top = true;
  const TokenDivergence d = summarize(tokens);
  EXPECT_EQ(d.tokens, 5);
  EXPECT_EQ(d.kl, 2);
  EXPECT_EQ(d.median, 2);
  EXPECT_DOUBLE_EQ(d.p90, 3.6);  // numpy.quantile
  EXPECT_DOUBLE_EQ(d.p99, 3.96);
  EXPECT_EQ(d.max, 4);
  EXPECT_DOUBLE_EQ(d.top1, 0.2);
  EXPECT_EQ(summarize({}).tokens, 0);
}

}  // namespace
}  // namespace squint::quantize
