// score.h: the scoring rule of OCRBench v1 (spec ocrbench-data-hubs.md §1.4, §1.6).
//
// A row scores one point where any reference answer, normalised, occurs in the normalised output:
//
//     formulas     n(s) = strip(s), '\n' becomes a space, then every U+0020 is removed
//     all others   n(s) = strip(lower(s)), '\n' becomes a space
//
// strip and lower are those of Python's str. Bytes that are not UTF-8 stay as they are. One
// difference from Python: capital sigma at the end of a word becomes U+03C3, not U+03C2.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace squint::eval {

// lmms folds full-width ASCII and the ideographic space in rows that are not formulas.
enum class ScoringRule { official, lmms };
std::string_view to_string(ScoringRule rule);
// Of "official" or "lmms"; nothing for any other name.
std::optional<ScoringRule> scoring_rule_named(std::string_view name);

struct ScoreInput {
  bool formula = false;  // is_formula(dataset, type)
  std::span<const std::string> answers;
  std::string_view prediction;  // already without reasoning
};

struct ScoreResult {
  bool hit = false;
  int64_t hit_answer = -1;  // the first answer found; -1: none
  std::string normalized_prediction;
};

ScoreResult score(const ScoreInput& input, ScoringRule rule = ScoringRule::official);

// What follows the last "</think>". An output that opens with "<think>" and never closes it holds
// no answer: the result is empty.
std::string_view without_reasoning(std::string_view output);

// Why a row was missed, the first that applies (§2.3). A diagnosis: it never changes the score.
enum class FailureClass {
  error,        // the row could not be run
  empty,        // nothing but white space came out
  truncated,    // the token limit cut the output
  letter_case,  // a formula that matches in lower case
  space,        // matches without white space
  punct,        // matches with letters and digits only
  latex,        // a formula that matches without \left, \right, $, \mathrm{} and the like
  near,  // one edit in five characters of an answer, or fewer, away from some part of the output
  wrong,
};
std::string_view to_string(FailureClass failure);  // "case" for letter_case

struct FailureInput {
  ScoreInput scored;
  std::string_view finish_reason;  // stop, length or error
};
FailureClass classify_failure(const FailureInput& input, ScoringRule rule = ScoringRule::official);

}  // namespace squint::eval
