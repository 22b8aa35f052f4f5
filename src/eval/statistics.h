// statistics.h: how sure a score is, and whether two runs over the same rows differ
// (spec ocrbench-data-hubs.md §2.2, §2.4).
//
// Everything here gives the same result on every platform: the generator and its bounded draw are
// spelled out, because the standard's distributions are implementation-defined.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace squint::eval {

struct Interval {
  double low = 0, high = 0;
};

// Wilson's 95 % interval of a proportion; [0, 1] for n = 0.
Interval wilson_interval(int64_t hits, int64_t n);

// Exact two-sided McNemar test of b rows lost against c rows gained; 1 for b + c = 0.
double mcnemar_exact(int64_t b, int64_t c);
// (|b - c| - 1)^2 / (b + c), the chi-square statistic with continuity correction. Needs b + c > 0.
double mcnemar_chi2(int64_t b, int64_t c);
inline constexpr int64_t kChi2MinDiscordant = 25;  // below, the approximation is not worth printing

// Holm's step-down adjustment, in the order of `p`.
std::vector<double> holm_adjust(std::span<const double> p);

// One row of two runs. Rows of a cluster (one image) are drawn together, and clusters within their
// stratum (question type). Both are numbers from 0 that the caller gave out; a cluster that occurs
// in two strata counts as one in each.
struct PairedRow {
  int64_t stratum = 0, cluster = 0;
  int difference = 0;  // hit in the second run minus hit in the first: -1, 0 or 1
};

struct BootstrapOptions {
  int64_t resamples = 10'000;
  uint64_t seed = 0;
};

// The 95 % percentile interval of the mean difference. A resample draws as many clusters per
// stratum as there are, and weighs each stratum's mean by its original number of rows. [0, 0] for
// no rows. Throws Error(usage) for fewer than 1 or more than 10 million resamples.
Interval bootstrap_difference(std::span<const PairedRow> rows, const BootstrapOptions& options);

}  // namespace squint::eval
