// comparison.h: two runs over the same rows, row by row (spec ocrbench-data-hubs.md §2.4).
//
// A is the reference, B the candidate; b counts rows that A hit and B missed (regressions), c the
// reverse (gains); the difference is (c - b) / n. Rows that only one run has are left out.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "eval/results.h"
#include "eval/statistics.h"
#include "eval/summary.h"
#include "squint/evaluate.h"

namespace squint::eval {

struct PairTally {
  std::string name;
  int64_t n = 0, a_hits = 0, b_hits = 0;
  int64_t b = 0, c = 0;
  Interval interval;  // of the difference, by bootstrap; types have none
  double p = 1;       // exact McNemar
  double p_holm = 1;  // types only: adjusted over all types
  double difference() const {
    return n == 0 ? 0 : static_cast<double>(c - b) / static_cast<double>(n);
  }
};

struct Change {
  size_t a = 0, b = 0;  // rows of the two files
  // Where the outputs part, in characters; nothing where they are equal.
  std::optional<int64_t> first_difference;
};

enum class Verdict { regression, within_noise, improvement };
std::string_view to_string(Verdict verdict);  // "within noise" with a space

struct Comparison {
  PairTally total;
  std::vector<PairTally> groups, types;  // those with rows
  std::optional<double> chi2;            // from kChi2MinDiscordant discordant rows on

  int64_t identical_verdicts = 0, identical_texts = 0;  // rows; texts as normalised for scoring
  double mean_edit_distance = 0;                        // normalised, of the normalised texts

  std::vector<int64_t> only_a, only_b;  // indices
  std::vector<HeaderDifference> setting_differences;
  std::vector<Change> regressions, gains;  // ascending index

  ReportOptions options;
  Verdict verdict = Verdict::within_noise;
  bool non_inferior = false;  // B is finished, and the interval stays above -margin / 1000
};

// Throws Error(bad_input) where a shared row has another question or other answers, where no row is
// shared, and where "settings" differ and options.force is not set; Error(usage) for a margin that
// is no number of points.
Comparison compare(const Summary& a, const Summary& b, const ReportOptions& options);

}  // namespace squint::eval
