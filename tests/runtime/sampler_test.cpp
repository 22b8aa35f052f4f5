#include "runtime/sampler.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>
#include <vector>

#include "squint/error.h"

namespace squint::runtime {
namespace {

using Ids = std::vector<int32_t>;

constexpr int kDraws = 20'000;
constexpr uint64_t kSeed = 20240917;

struct Seen {
  Ids prompt = {};
  Ids output = {};
};

int32_t draw(std::vector<float> logits, const Sampling& sampling, Random& random,
             const Seen& seen = {}) {
  return sample(logits, seen.prompt, seen.output, sampling, random);
}

int32_t greedy(const std::vector<float>& logits, Sampling sampling = {}, const Seen& seen = {}) {
  sampling.temperature = 0;
  Random random(kSeed);
  return draw(logits, sampling, random, seen);
}

std::map<int32_t, double> shares(const std::vector<float>& logits, const Sampling& sampling,
                                 const Seen& seen = {}) {
  Random random(kSeed);
  std::map<int32_t, int> counts;
  for (int i = 0; i < kDraws; ++i) ++counts[draw(logits, sampling, random, seen)];
  std::map<int32_t, double> out;
  for (const auto& [id, count] : counts) out[id] = static_cast<double>(count) / kDraws;
  return out;
}

std::vector<float> logs(const std::vector<double>& probabilities) {
  std::vector<float> out;
  for (const double p : probabilities) out.push_back(static_cast<float>(std::log(p)));
  return out;
}

// Five standard deviations of a share of kDraws draws: one seed in a million strays further.
double bound(double p) { return 5 * std::sqrt(p * (1 - p) / kDraws); }

void expect_shares(const std::map<int32_t, double>& found, const std::vector<double>& expected) {
  SCOPED_TRACE(testing::Message() << "seed " << kSeed);
  for (size_t id = 0; id < expected.size(); ++id) {
    const auto it = found.find(static_cast<int32_t>(id));
    const double share = it == found.end() ? 0 : it->second;
    if (expected[id] == 0) {
      EXPECT_EQ(share, 0) << "token " << id;
    } else {
      EXPECT_NEAR(share, expected[id], bound(expected[id])) << "token " << id;
    }
  }
}

TEST(Argmax, FirstOfEquals) {
  EXPECT_EQ(argmax(std::vector<float>{1, 3, 2, 3}), 1);
  EXPECT_EQ(argmax(std::vector<float>{-5, -5}), 0);
  EXPECT_EQ(argmax(std::vector<float>{-3, -2, -1}), 2);
}

TEST(Sampler, GreedyTakesTheSmallerIdOfATie) { EXPECT_EQ(greedy({0, 16.125f, 16, 16.125f}), 1); }

TEST(Sampler, GreedyIgnoresTheRestOfTheDraw) {
  const Sampling sampling{.top_k = 1, .top_p = 1e-9};
  EXPECT_EQ(greedy({0, 1, 2}, sampling), 2);
}

TEST(Sampler, TemperatureZeroLeavesTheGeneratorAlone) {
  Random random(kSeed);
  draw({1, 2, 3}, {.temperature = 0}, random);
  EXPECT_EQ(random.next(), Random(kSeed).next());
}

TEST(Sampler, FrequenciesAreTheSoftmax) {
  const std::vector<double> p = {0.1, 0.5, 0.05, 0.3, 0.05};
  expect_shares(shares(logs(p), {}), p);
}

TEST(Sampler, LogitsMayBeShiftedFarFromZero) {
  std::vector<float> logits = {10'000, 10'001, 10'000};
  const double e = std::exp(1.0);
  expect_shares(shares(logits, {}), {1 / (2 + e), e / (2 + e), 1 / (2 + e)});
}

TEST(Sampler, TemperatureDividesTheLogits) {
  const std::vector<float> logits = {0, 2};
  for (const double t : {0.5, 2.0, 4.0}) {
    const double e = std::exp(2 / t);
    expect_shares(shares(logits, {.temperature = t}), {1 / (1 + e), e / (1 + e)});
  }
}

TEST(Sampler, TinyTemperatureIsAlmostGreedy) {
  expect_shares(shares({1, 1.5f, 1.4f}, {.temperature = 1e-6}), {0, 1, 0});
}

TEST(Sampler, TopKKeepsTheLargest) {
  const std::vector<double> p = {0.1, 0.4, 0.3, 0.2};
  expect_shares(shares(logs(p), {.top_k = 2}), {0, 4.0 / 7, 3.0 / 7, 0});
  expect_shares(shares(logs(p), {.top_k = 1}), {0, 1, 0, 0});
  expect_shares(shares(logs(p), {.top_k = 4}), p);
  expect_shares(shares(logs(p), {.top_k = std::numeric_limits<int64_t>::max()}), p);
}

TEST(Sampler, TopKKeepsAllThatTieWithTheLast) {
  const std::vector<double> p = {0.2, 0.4, 0.2, 0.2};
  expect_shares(shares(logs(p), {.top_k = 2}), p);
}

TEST(Sampler, TopPKeepsTheSmallestPrefixThatReachesIt) {
  const std::vector<float> logits = logs({0.1, 0.45, 0.15, 0.3});
  expect_shares(shares(logits, {.top_p = 0.4}), {0, 1, 0, 0});
  expect_shares(shares(logits, {.top_p = 0.5}), {0, 0.6, 0, 0.4});
  expect_shares(shares(logits, {.top_p = 0.8}), {0, 0.5, 1.0 / 6, 1.0 / 3});
  expect_shares(shares(logits, {.top_p = 1}), {0.1, 0.45, 0.15, 0.3});
}

TEST(Sampler, TopPStopsAtAPrefixOfExactlyP) {
  // Equal logits, so that the mass of two of four is one half without rounding.
  expect_shares(shares({7, 7, 7, 7}, {.top_p = 0.5}), {0.5, 0.5, 0, 0});
}

TEST(Sampler, TopPAlwaysKeepsTheLargest) {
  expect_shares(shares(logs({0.2, 0.5, 0.3}), {.top_p = 1e-12}), {0, 1, 0});
}

TEST(Sampler, TopPMeasuresWhatTopKLeftAtTheTemperature) {
  const std::vector<float> logits = logs({0.4, 0.3, 0.2, 0.1});
  // Of all, 0.4 + 0.3 reach 0.65; of the first three they are 0.78, and 0.4 alone only 0.44.
  expect_shares(shares(logits, {.top_k = 2, .top_p = 0.56}), {1, 0, 0, 0});
  expect_shares(shares(logits, {.top_k = 2, .top_p = 0.58}), {4.0 / 7, 3.0 / 7, 0, 0});
  // At half the temperature the first of them is 0.64 of 1: squares, normalised.
  expect_shares(shares(logits, {.temperature = 0.5, .top_k = 2, .top_p = 0.63}), {1, 0, 0, 0});
}

TEST(Sampler, RepetitionPenaltyDividesPositiveAndMultipliesNegativeLogits) {
  const Sampling sampling{.repetition_penalty = 2};
  EXPECT_EQ(greedy({4, 3}, sampling, {.prompt = {0}}), 1);       // 2 < 3
  EXPECT_EQ(greedy({4, 1.9f}, sampling, {.prompt = {0}}), 0);    // 2 > 1.9
  EXPECT_EQ(greedy({-1, -1.9f}, sampling, {.output = {0}}), 1);  // -2 < -1.9
  EXPECT_EQ(greedy({-1, -2.1f}, sampling, {.output = {0}}), 0);
}

TEST(Sampler, RepetitionPenaltyCountsAnIdOnce) {
  const Sampling sampling{.repetition_penalty = 2};
  EXPECT_EQ(greedy({4, 1.5f}, sampling, {.prompt = {0, 0}, .output = {0}}), 0);  // 2, not 0.5
}

TEST(Sampler, PresencePenaltyIsForTheAnswerOnlyAndOnce) {
  const Sampling sampling{.presence_penalty = 1.5};
  EXPECT_EQ(greedy({4, 3}, sampling, {.output = {0}}), 1);
  EXPECT_EQ(greedy({4, 3}, sampling, {.prompt = {0}}), 0);
  EXPECT_EQ(greedy({4, 2}, sampling, {.output = {0, 0, 0}}), 0);
  EXPECT_EQ(greedy({4, 3}, {.presence_penalty = -2}, {.output = {1}}), 1);
}

TEST(Sampler, PenaltiesComeBeforeTheTemperature) {
  // 2 - 1 = 1, then divided by 0.5.
  const double e = std::exp(2.0);
  expect_shares(shares({2, 0}, {.presence_penalty = 1, .temperature = 0.5}, {.output = {0}}),
                {e / (1 + e), 1 / (1 + e)});
}

TEST(Sampler, RepetitionComesBeforePresence) {
  // 4 / 2 - 1 = 1; the other way round it is 1.5.
  const Sampling sampling{.repetition_penalty = 2, .presence_penalty = 1};
  EXPECT_EQ(greedy({4, 1.25f}, sampling, {.output = {0}}), 1);
}

TEST(Sampler, IdsOutsideTheLogitsAreIgnored) {
  const Sampling sampling{.repetition_penalty = 2, .presence_penalty = 1};
  const Ids strange = {-1, 2, 1 << 30, std::numeric_limits<int32_t>::min()};
  EXPECT_EQ(greedy({1, 2}, sampling, {.prompt = strange, .output = strange}), 1);
}

TEST(Sampler, SameSeedSameDraws) {
  const std::vector<float> logits(50, 1.0f);
  const auto draws = [&](uint64_t seed) {
    Random random(seed);
    Ids out;
    for (int i = 0; i < 20; ++i) out.push_back(draw(logits, {}, random));
    return out;
  };
  EXPECT_EQ(draws(1), draws(1));
  EXPECT_NE(draws(1), draws(2));
}

TEST(Sampler, SingleLogit) {
  Random random(kSeed);
  EXPECT_EQ(draw({-100}, {}, random), 0);
}

TEST(Sampler, NoLogitsAtAll) {
  Random random(kSeed);
  EXPECT_THROW(draw({}, {}, random), InternalError);
}

}  // namespace
}  // namespace squint::runtime
