#include "eval/statistics.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <utility>

#include "base/check.h"
#include "base/quantile.h"
#include "base/random.h"
#include "squint/error.h"

namespace squint::eval {
namespace {

constexpr int64_t kMaxResamples = 10'000'000;
constexpr double kZ = 1.959963985;  // the normal distribution's 97.5 % point

struct Cluster {
  int64_t rows = 0, difference = 0;
};

struct Stratum {
  std::vector<Cluster> clusters;
  int64_t rows = 0;
};

// Clusters in order of first appearance: a resample then depends on the order of the rows alone.
std::vector<Stratum> gather(std::span<const PairedRow> rows) {
  std::vector<Stratum> strata;
  std::map<int64_t, size_t> stratum_at;
  std::map<std::pair<int64_t, int64_t>, size_t> cluster_at;
  for (const PairedRow& row : rows) {
    const auto [s, new_stratum] = stratum_at.try_emplace(row.stratum, strata.size());
    if (new_stratum) strata.emplace_back();
    Stratum& stratum = strata[s->second];
    const auto [c, new_cluster] =
        cluster_at.try_emplace({row.stratum, row.cluster}, stratum.clusters.size());
    if (new_cluster) stratum.clusters.emplace_back();
    Cluster& cluster = stratum.clusters[c->second];
    ++cluster.rows;
    cluster.difference += row.difference;
    ++stratum.rows;
  }
  return strata;
}

double resampled_difference(const std::vector<Stratum>& strata, Random& random) {
  double sum = 0;
  int64_t rows = 0;
  for (const Stratum& stratum : strata) {
    Cluster drawn;
    for (size_t i = 0; i < stratum.clusters.size(); ++i) {
      const Cluster& c = stratum.clusters[random.below(stratum.clusters.size())];
      drawn.rows += c.rows;
      drawn.difference += c.difference;
    }
    sum += static_cast<double>(drawn.difference * stratum.rows) / static_cast<double>(drawn.rows);
    rows += stratum.rows;
  }
  return sum / static_cast<double>(rows);
}

}  // namespace

Interval wilson_interval(int64_t hits, int64_t n) {
  SQUINT_CHECK(hits >= 0 && hits <= n);
  if (n == 0) return {0, 1};
  const double size = static_cast<double>(n);
  const double p = static_cast<double>(hits) / size;
  const double centre = p + kZ * kZ / (2 * size);
  const double half = kZ * std::sqrt(p * (1 - p) / size + kZ * kZ / (4 * size * size));
  const double scale = 1 + kZ * kZ / size;
  // The ends of the range are exact; rounding must not move them.
  return {hits == 0 ? 0 : (centre - half) / scale, hits == n ? 1 : (centre + half) / scale};
}

double mcnemar_exact(int64_t b, int64_t c) {
  SQUINT_CHECK(b >= 0 && c >= 0);
  const int64_t n = b + c;
  const int64_t least = std::min(b, c);
  // C(n, least) / 2^n by its logarithm, then the smaller terms of the sum by their ratios to it.
  long double log_term = -static_cast<long double>(n) * std::log(2.0L);
  for (int64_t i = 1; i <= least; ++i) {
    log_term += std::log(static_cast<long double>(n - least + i) / static_cast<long double>(i));
  }
  long double ratio = 1;
  long double sum = 1;
  for (int64_t i = least; i > 0 && ratio > 0; --i) {
    ratio *= static_cast<long double>(i) / static_cast<long double>(n - i + 1);
    sum += ratio;
  }
  return static_cast<double>(std::min(1.0L, 2 * std::exp(log_term) * sum));
}

double mcnemar_chi2(int64_t b, int64_t c) {
  SQUINT_CHECK(b >= 0 && c >= 0 && b + c > 0);
  const auto gap = static_cast<double>(std::abs(b - c) - 1);
  return gap * gap / static_cast<double>(b + c);
}

std::vector<double> holm_adjust(std::span<const double> p) {
  std::vector<size_t> order(p.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::stable_sort(order, {}, [&](size_t i) { return p[i]; });
  std::vector<double> adjusted(p.size());
  double largest = 0;
  for (size_t rank = 0; rank < order.size(); ++rank) {
    largest = std::max(largest, static_cast<double>(p.size() - rank) * p[order[rank]]);
    adjusted[order[rank]] = std::min(1.0, largest);
  }
  return adjusted;
}

Interval bootstrap_difference(std::span<const PairedRow> rows, const BootstrapOptions& options) {
  if (options.resamples < 1 || options.resamples > kMaxResamples) {
    throw Error(ErrorCode::usage, fmt::format("bootstrap: expected 1 to {} resamples, found {}",
                                              kMaxResamples, options.resamples));
  }
  if (rows.empty()) return {0, 0};
  const std::vector<Stratum> strata = gather(rows);
  Random random(options.seed);
  std::vector<double> differences;
  for (int64_t i = 0; i < options.resamples; ++i) {
    differences.push_back(resampled_difference(strata, random));
  }
  std::ranges::sort(differences);
  return {quantile(differences, 0.025), quantile(differences, 0.975)};
}

}  // namespace squint::eval
