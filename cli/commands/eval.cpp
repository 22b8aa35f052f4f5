#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cmath>
#include <memory>

#include "command.h"
#include "squint/ocrbench.h"
#include "terminal.h"

namespace squint::cli {
namespace {

struct Options {
  EvaluateOptions evaluate;
  EvaluationProtocol protocol = EvaluationProtocol::model;
  std::optional<std::string> prompt_suffix;
  std::optional<int64_t> min_pixels;
  std::optional<int64_t> max_pixels;
  std::optional<int64_t> max_tokens;
  std::optional<std::string> precision;
  DeviceOptions device{.backend = {}, .fast_answers = true};
};

void run(Options& options, Outcome& outcome) {
  EvaluateOptions& e = options.evaluate;
  apply_protocol(options.protocol, e);
  e.prompt_suffix = options.prompt_suffix.value_or(e.prompt_suffix);
  e.max_tokens = options.max_tokens.value_or(e.max_tokens);
  if (options.min_pixels) e.min_pixels = options.min_pixels;
  if (options.max_pixels) e.max_pixels = options.max_pixels;
  e.stop = outcome.stop;
  Progress progress("ocrbench");
  e.on_progress = [&](const EvaluateProgress& p) {
    progress.show(p.done, p.total,
                  fmt::format("{}/{} right{}", p.hits, p.done,
                              p.errors > 0 ? fmt::format(", {} failed", p.errors) : ""),
                  p.resumed);
  };
  if (options.precision) options.device.backend.arithmetic = Arithmetic::exact;
  const BackendPtr backend = options.device.open();
  const EvaluateSummary done = evaluate_ocrbench(e, *backend);
  progress.finish();
  const EvaluateProgress& p = done.progress;
  if (done.interrupted) {
    fmt::print(stderr,
               "interrupted after {} of {} rows, which are kept in {}: the same command "
               "continues\n",
               p.done, p.total, e.results.string());
    outcome.exit_code = interrupted;
    return;
  }
  fmt::print("{} of {} right{}; {} s; {}\n", p.hits, p.total,
             p.errors > 0 ? fmt::format(", {} failed", p.errors) : "", std::llround(p.elapsed_s),
             e.results.string());
  if (p.errors > 0) outcome.exit_code = failed;
}

}  // namespace

void add_eval(CLI::App& app, Outcome& outcome) {
  CLI::App* eval = app.add_subcommand("eval", "Ask a model the questions of a benchmark");
  eval->require_subcommand(1);
  const auto options = std::make_shared<Options>();
  EvaluateOptions& e = options->evaluate;
  CLI::App* command = eval->add_subcommand("ocrbench", "OCRBench: questions about text in images");
  command->footer(
      "Example:\n  squint eval ocrbench models/reader --data data/synthocr -o "
      "out/reader.jsonl\n\nInterrupted, the same command continues; finished rows are "
      "not asked again.");
  command->add_option("MODEL", e.model, "checkpoint folder")->required()->check(refuse_empty);
  command
      ->add_option(
          "--data", e.data,
          "OCRBench: a .json with the images beside it, a .tsv, a .parquet, or a folder with one")
      ->required()
      ->check(refuse_empty);
  command->add_option("-o,--output", e.results, "results file, one JSON line per row")
      ->required()
      ->check(refuse_empty);
  command->add_option("--limit", e.limit, "the first N rows only; 0: all")
      ->check(CLI::NonNegativeNumber);
  command
      ->add_option("--types", e.types,
                   "only these types of questions, such as 'Scene Text-centric VQA'")
      ->delimiter(',');
  command
      ->add_option("--protocol", options->protocol,
                   "how others ask: their prompts, limits and sampling (docs/evaluation.md)")
      ->option_text("model|greedy|official|lmms|vlmeval [model]")
      ->transform(CLI::CheckedTransformer(
          std::map<std::string, EvaluationProtocol>{{"model", EvaluationProtocol::model},
                                                    {"greedy", EvaluationProtocol::greedy},
                                                    {"official", EvaluationProtocol::official},
                                                    {"lmms", EvaluationProtocol::lmms},
                                                    {"vlmeval", EvaluationProtocol::vlmeval}}));
  command->add_option("--prompt-suffix", options->prompt_suffix,
                      "a line behind each question, such as 'Answer in one word.'");
  command
      ->add_option("--min-pixels", options->min_pixels, "smaller images are enlarged to this area")
      ->check(CLI::PositiveNumber);
  command->add_option("--max-pixels", options->max_pixels, "larger images are reduced to this area")
      ->check(CLI::PositiveNumber);
  command
      ->add_option("--max-tokens", options->max_tokens, "of an answer [256; as the protocol says]")
      ->check(CLI::PositiveNumber);
  command
      ->add_option("--rows-at-once", e.rows_at_once,
                   "rows answered together; on the CPU no answer depends on it; 0: up to 8")
      ->check(CLI::Range(0, 1024));
  command->add_option("--precision", options->precision, "exact: as --arithmetic exact")
      ->check(CLI::IsMember({"exact"}));
  options->device.add_to(*command);
  command->callback([options, &outcome] { run(*options, outcome); });
}

}  // namespace squint::cli
