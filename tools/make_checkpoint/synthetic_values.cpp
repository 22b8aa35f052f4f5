#include "synthetic_values.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <string_view>

#include "base/random.h"

namespace squint::tools {
namespace {

constexpr double kOutlierShare = 0.02;
constexpr uint64_t kOutlierPowers = 5;  // 2 to 32
constexpr int kQuantileBits = 16;
constexpr int64_t kQuantiles = int64_t{1} << kQuantileBits;

double normal_cdf(double x) { return 0.5 * std::erfc(-x / std::numbers::sqrt2); }

// The normal distribution as 65536 equally likely values: finer than bf16, and one load a value.
std::vector<float> make_quantiles() {
  std::vector<float> values(kQuantiles);
  double x = 0;
  for (int64_t i = kQuantiles / 2; i < kQuantiles; ++i) {
    const double p = (static_cast<double>(i) + 0.5) / static_cast<double>(kQuantiles);
    // Newton's method from the neighbour's value; the curve is flat enough for four steps.
    for (int step = 0; step < 4; ++step) {
      x -= (normal_cdf(x) - p) * std::sqrt(2 * std::numbers::pi) * std::exp(x * x / 2);
    }
    values[static_cast<size_t>(i)] = static_cast<float>(x);
    values[static_cast<size_t>(kQuantiles - 1 - i)] = static_cast<float>(-x);
  }
  return values;
}

const float* quantiles() {
  static const std::vector<float> values = make_quantiles();
  return values.data();
}

float normal(Random& random) { return quantiles()[random.next() >> (64 - kQuantileBits)]; }

// FNV-1a
uint64_t key_of(uint64_t seed, std::string_view name) {
  uint64_t key = 0xcbf29ce484222325u ^ (seed * 0x9e3779b97f4a7c15u);
  for (const char c : name) key = (key ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  return key;
}

// Not a multiple of the step with which Random expands its seed: streams would overlap.
Random stream(uint64_t key, int64_t index) {
  return Random(key + static_cast<uint64_t>(index) * 0xd1342543de82ef95u);
}

float outlier(uint64_t seed, const std::string& pattern, int64_t channel) {
  if (pattern.empty()) return 1;
  Random random = stream(key_of(seed, pattern), channel);
  if (random.uniform() >= kOutlierShare) return 1;
  return std::ldexp(1.0f, static_cast<int>(1 + random.below(kOutlierPowers)));
}

}  // namespace

SyntheticValues::SyntheticValues(const TensorPlan& plan, uint64_t seed)
    : plan_(plan), seed_(seed), key_(key_of(seed, plan.name)) {
  column_.resize(static_cast<size_t>(plan.shape.numel() / plan.shape[0]));
  const uint64_t key = key_of(seed, plan.name + "/columns");
  for (size_t c = 0; c < column_.size(); ++c) {
    const auto channel = static_cast<int64_t>(c);
    Random random = stream(key, channel);
    column_[c] = plan.scale * std::exp(plan.column_spread * normal(random)) /
                 outlier(seed, plan.column_outliers, channel);
  }
}

void SyntheticValues::fill(int64_t r, std::span<bf16> out) const {
  Random random = stream(key_, r);
  const float row =
      std::exp(plan_.row_spread * normal(random)) * outlier(seed_, plan_.row_outliers, r);
  if (plan_.gains) {
    std::ranges::fill(out, to_bf16(row));
    return;
  }
  const float* quantile = quantiles();
  const size_t whole = out.size() / 4 * 4;
  for (size_t c = 0; c < whole; c += 4) {
    const uint64_t bits = random.next();
    for (size_t i = 0; i < 4; ++i) {
      out[c + i] =
          to_bf16(quantile[bits >> (kQuantileBits * i) & (kQuantiles - 1)] * row * column_[c + i]);
    }
  }
  for (size_t c = whole; c < out.size(); ++c) out[c] = to_bf16(normal(random) * row * column_[c]);
}

}  // namespace squint::tools
