#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "command.h"
#include "squint/evaluate.h"
#include "terminal.h"

namespace squint::cli {
namespace {

struct Options {
  std::string results;
  std::string other;
  bool json = false;
  ReportOptions report;
  int64_t rows = 10;
  std::string html, markdown, csv;  // files to write
  std::string data;
};

void write_file(const std::string& path, const std::string& text) {
  if (path.empty()) return;
  write_report(path, text);
  fmt::print(stderr, "wrote {}\n", path);
}

void run(const Options& options, Outcome& outcome) {
  const EvaluationReport report =
      options.other.empty() ? report_results(options.results)
                            : compare_results(options.results, options.other, options.report);
  if (!options.html.empty()) write_file(options.html, report.to_html(options.data));
  if (!options.markdown.empty()) write_file(options.markdown, report.to_markdown());
  if (!options.csv.empty()) write_file(options.csv, report.to_csv());
  if (options.json) {
    fmt::print("{}\n", report.to_json());
  } else {
    fmt::print("{}",
               report.to_text(
                   {.width = terminal_width(), .color = use_color(), .max_rows = options.rows}));
  }
  if (!report.passed()) outcome.exit_code = regression;
}

}  // namespace

void add_report(CLI::App& app, Outcome& outcome) {
  const auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("report", "Scores of a run, or two runs row by row");
  command->footer(
      "Example:\n  squint report out/reader.jsonl out/reader-w4a16.jsonl\n\nExit code 10: "
      "the second run may have lost more than the margin.");
  command->add_option("RESULTS", options->results, "results file of squint eval")
      ->required()
      ->check(refuse_empty);
  command->add_option("OTHER", options->other, "a second one, compared with the first")
      ->check(refuse_empty);
  command->add_flag("--json", options->json, "for machines");
  command->add_option("--html", options->html, "write a page, one file that loads nothing, there")
      ->check(refuse_empty);
  command->add_option("--data", options->data, "the benchmark: the page shows its pictures")
      ->check(refuse_empty);
  command->add_option("--markdown", options->markdown, "write a report in Markdown there")
      ->check(refuse_empty);
  command->add_option("--csv", options->csv, "write all rows as a table there")
      ->check(refuse_empty);
  command->add_option("--margin", options->report.margin, "points of 1000 that OTHER may lose")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command->add_option("--seed", options->report.seed, "of the bootstrap")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command->add_option("--rows", options->rows, "rows shown in each list")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command->add_flag("--force", options->report.force, "compare runs with different settings");
  command->callback([options, &outcome] { run(*options, outcome); });
}

}  // namespace squint::cli
