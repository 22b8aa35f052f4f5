#include "squint/compare.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "command.h"
#include "terminal.h"

namespace squint::cli {
namespace {

struct Options {
  CompareOptions compare;
  std::string other;
  bool json = false;
  DeviceOptions device;
};

void print_plan(const ComparePlan& plan) {
  fmt::print(
      stderr,
      "{} rows, {} tokens, {} of them answers; {}\nmemory: about {} beside the mapped models "
      "(hidden states {}, weights {}, inner values {})\n",
      plan.rows, plan.tokens, plan.answer_tokens,
      plan.passes == 1 ? "one pass" : fmt::format("{} passes", plan.passes),
      bytes_text(plan.peak_bytes), bytes_text(plan.hidden_bytes), bytes_text(plan.weight_bytes),
      bytes_text(plan.scratch_bytes));
}

void run(Options& options, const Outcome& outcome) {
  CompareOptions& c = options.compare;
  c.others = {options.other};
  c.stop = outcome.stop;
  Progress progress("compare");
  c.on_plan = [&](const ComparePlan& plan) {
    progress.finish();
    print_plan(plan);
  };
  c.on_progress = [&](const CompareProgress& p) { progress.show(p.done, p.total, p.phase); };
  const BackendPtr backend = options.device.open();
  const Divergence d = compare_models(c, *backend).front();
  progress.finish();
  fmt::print("{}{}", options.json ? d.to_json() : d.to_text(terminal_width()),
             options.json ? "\n" : "");
}

}  // namespace

void add_compare(CLI::App& app, Outcome& outcome) {
  const auto options = std::make_shared<Options>();
  CompareOptions& c = options->compare;
  CLI::App* command = app.add_subcommand("compare",
                                         "How far one model's predictions are from "
                                         "another's");
  command->footer(
      "Example:\n  squint compare models/reader out/reader-w4a16 --data data/synthocr\n  squint "
      "compare models/reader out/reader-w4a16 --data data/calibration --first 100");
  command->add_option("BASE", c.base, "the original model")->required()->check(refuse_empty);
  command->add_option("OTHER", options->other, "what was made from it")
      ->required()
      ->check(refuse_empty);
  command
      ->add_option(
          "--data", c.data,
          "folder with OCRBench (.json, .tsv, .parquet) or calibration.jsonl, or one of these "
          "files")
      ->required()
      ->check(refuse_empty);
  command->add_option("--first", c.first, "row to begin with, from 0")
      ->check(CLI::NonNegativeNumber);
  command->add_option("--limit", c.limit, "that many rows only; 0: all")
      ->check(CLI::NonNegativeNumber);
  command
      ->add_option("--memory", c.memory,
                   "for hidden states; rows that need more follow in further passes")
      ->option_text("BYTES [2GB]")
      ->transform(CLI::AsSizeValue(/*kb_is_1000=*/true));
  command->add_option("--worst", c.worst_rows, "rows listed")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command->add_flag("--json", options->json, "for machines");
  options->device.add_to(*command);
  command->callback([options, &outcome] { run(*options, outcome); });
}

}  // namespace squint::cli
