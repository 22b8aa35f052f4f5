// report.h: what stands behind squint/evaluate.h, and the keys of its JSON.
//
// A report of one run:
//     kind "report", format, run {...}
// A comparison of two:
//     kind "comparison", format, a {...}, b {...}, comparison {...}
//
// Run:  path, header (as in the file), model_name, model_bytes (or null), rule, complete,
//     score, max, percent, wilson [low, high], final_score, final_score_norm_vlmevalkit (of 100),
//     final_score_norm_lmms_eval (of 1), rules {official, lmms}: hits by either rule,
//     rows, missing, errors, truncated,
//     groups, types, datasets: lists of
//         name, (types: group,) score, max, percent, wilson, rows, missing, errors, truncated,
//         mean_output_tokens
//     throughput {total_s, prefill_s, decode_s, output_tokens, tokens_per_s, images_per_s},
//     quality {empty, later_answer_hits, near_misses, failures {class: rows}},
//     warnings [text], failures: list of
//         index, type, question, answers, prediction, finish_reason, error, class
//
// Comparison:  n, b, c, d, mcnemar_exact_p, mcnemar_chi2 (null below 25 discordant rows),
//     bootstrap {low, high, resamples, seed, confidence}, verdict, margin_points, non_inferior,
//     size_ratio (bytes of A by bytes of B, or null),
//     groups: name, n, a_hits, b_hits, b, c, d, low, high
//     types: name, group, n, a_hits, b_hits, b, c, d, p, p_holm
//     agreement {identical_verdicts, identical_text, mean_edit_distance}: the first two fractions,
//     only_in_a, only_in_b: indices, setting_differences: list of {key, a, b},
//     regressions, gains: lists of
//         index, type, question, answers, prediction_a, prediction_b, first_difference (or null)
//
// Fractions are of 1, percent of 100, "d" and its interval fractions of n; what would be a division
// by zero is null.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>

#include "eval/comparison.h"
#include "eval/summary.h"
#include "squint/evaluate.h"

namespace squint::eval {

struct ReportData {
  Summary a;                             // the run, or the reference
  std::optional<Summary> b;              // the candidate
  std::optional<Comparison> comparison;  // there with b
};

// Bytes of A by bytes of B, where both headers say.
std::optional<double> size_ratio(const ReportData& data);

std::string report_json(const ReportData& data);
std::string changes_jsonl(const ReportData& data);
// One page, UTF-8, that loads nothing. Rows of `samples`, by index, lend it their pictures.
std::string report_html(const ReportData& data, std::span<const Sample> samples);
std::string report_markdown(const ReportData& data);
// RFC 4180, all rows; of a comparison those that both runs have.
std::string report_csv(const ReportData& data);
std::string report_text(const ReportData& data, const ReportStyle& style);

}  // namespace squint::eval
