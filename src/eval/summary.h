// summary.h: one run in numbers (spec ocrbench-data-hubs.md §2.2, §2.3).
//
// Rows that the run planned but has not finished count as missed: the maximum is the plan's, or,
// where the header has no plan, the number of rows in the file.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "eval/results.h"
#include "eval/score.h"
#include "eval/statistics.h"

namespace squint::eval {

// Rows with something in common: a group, a question type, a source data set or all.
struct Tally {
  std::string name;
  int64_t max = 0;   // rows of the plan
  int64_t done = 0;  // of these, in the file
  int64_t hits = 0, errors = 0, truncated = 0, output_tokens = 0;

  int64_t missing() const { return max - done; }
  Interval interval() const { return wilson_interval(hits, max); }
  // Nothing where there is nothing to divide by.
  std::optional<double> share() const;               // hits / max
  std::optional<double> mean_output_tokens() const;  // output_tokens / done
};

struct Failure {
  size_t row = 0;  // of Summary::file.rows
  FailureClass reason = FailureClass::wrong;
};

struct Summary {
  std::string path;
  ResultsFile file;
  std::string model_name;              // empty: the header does not say
  std::optional<int64_t> model_bytes;  // the same
  ScoringRule rule = ScoringRule::official;
  bool complete = false;  // exactly the rows of OCRBench v1

  Tally total;
  std::vector<Tally> groups;    // the five of the score table, then kOtherGroup if there is any
  std::vector<Tally> types;     // in OCRBench's order, then others; only those of the run
  std::vector<Tally> datasets;  // in order of appearance
  int64_t official_hits = 0, lmms_hits = 0;  // every output scored again by both rules

  int64_t empty = 0;              // outputs of nothing but white space, failed rows aside
  int64_t later_answer_hits = 0;  // hits that needed an answer other than the first
  int64_t near_misses = 0;
  double prefill_s = 0, decode_s = 0;

  std::vector<Failure> failures;      // by type in the order of `types`, then by index
  std::vector<std::string> warnings;  // signs of a broken pipeline or file, each one sentence

  double total_s() const { return prefill_s + decode_s; }
  std::optional<double> tokens_per_s() const;  // output tokens by time of decoding
  std::optional<double> images_per_s() const;
};

// Throws Error(bad_input) where rows and plan contradict each other or the rule is unknown. `path`
// is for display.
Summary summarize(ResultsFile file, std::string path);

}  // namespace squint::eval
