// evaluate.h: what evaluation runs found, read back from their results files.
//
// One file gives a report: score per group, question type and source data set with 95 % intervals,
// throughput, why rows were missed. Two files give a paired comparison: is the second model still
// as good as the first? The first file is the reference (A), the second the candidate (B).
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

namespace squint {

namespace eval {
struct ReportData;
}

struct ReportOptions {
  double margin = 10;          // points of 1000 that B may lose and still pass
  int64_t resamples = 10'000;  // of the bootstrap
  uint64_t seed = 0;           // of the bootstrap
  bool force = false;          // compare runs with different settings
};

struct ReportStyle {
  int width = 80;         // columns; fewer than 72 count as 72
  bool color = false;     // ANSI escapes
  int64_t max_rows = 10;  // rows shown in each list of failures, regressions and gains
};

class EvaluationReport {
 public:
  explicit EvaluationReport(std::shared_ptr<const eval::ReportData> data);

  // One JSON object, numbers unrounded; docs of its keys in src/eval/report.h.
  std::string to_json() const;
  // For a terminal, UTF-8, no line wider than style.width.
  std::string to_text(const ReportStyle& style = {}) const;
  // A page, one file that loads nothing: tables, and every row that was missed or flipped. With
  // `data`, the benchmark as squint/ocrbench.h takes it, rows have their pictures. Throws what
  // reading that throws.
  std::string to_html(const std::filesystem::path& data = {}) const;
  std::string to_markdown() const;
  std::string to_csv() const;  // RFC 4180, a line per row
  // Of a comparison: one JSON object per line for every row whose verdict changed, regressions
  // first.
  std::string changes_jsonl() const;

  bool is_comparison() const;
  // False for a comparison whose interval of the difference reaches -margin, or whose candidate has
  // not answered all of its rows.
  bool passed() const;

 private:
  std::shared_ptr<const eval::ReportData> data_;
};

// A report's text in a file, whole or not at all. Throws Error(io).
void write_report(const std::filesystem::path& file, std::string_view text);

// Throws Error(bad_input) for a file that holds no evaluation run, Error(io) for one that cannot be
// read.
EvaluationReport report_results(const std::filesystem::path& results);

// Also throws Error(bad_input) where the runs asked different questions or share no row, and where
// their settings differ, listing the differences, unless options.force.
EvaluationReport compare_results(const std::filesystem::path& reference,
                                 const std::filesystem::path& candidate,
                                 const ReportOptions& options = {});

}  // namespace squint
