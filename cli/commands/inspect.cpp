#include "squint/inspect.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "command.h"
#include "squint/error.h"
#include "squint/verify.h"
#include "terminal.h"

namespace squint::cli {
namespace {

struct Options {
  std::string model;
  std::string base;
  bool verify = false;
  bool json = false;
  int threads = 0;
};

void run(const Options& options, Outcome& outcome) {
  if (options.verify == options.base.empty()) {
    throw Error(ErrorCode::usage, "--verify and --base go together");
  }
  if (!options.verify) {
    const Inspection found = inspect(options.model);
    fmt::print("{}", options.json ? found.to_json() + "\n" : found.to_text(terminal_width()));
    return;
  }
  Progress progress("verify");
  const Verification found = verify_checkpoint(
      {.checkpoint = options.model,
       .base = options.base,
       .threads = options.threads,
       .on_progress = [&](int64_t done, int64_t total,
                          const std::string& name) { progress.show(done, total, name); },
       .stop = outcome.stop});
  progress.finish();
  fmt::print("{}", options.json ? found.to_json() + "\n" : found.to_text());
  if (found.problem_count() > 0) outcome.exit_code = failed;
}

}  // namespace

void add_inspect(CLI::App& app, Outcome& outcome) {
  const auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("inspect",
                                         "What is in a checkpoint, and what quantizing would "
                                         "change; or whether a quantized one is sound");
  command->footer(
      "Examples:\n  squint inspect models/reader\n"
      "  squint inspect --verify out/reader-w4a16 --base models/reader\n\n"
      "--verify reads compressed-tensors, AutoAWQ and GPTQ, and ends with exit code 1 where "
      "something is wrong.");
  command->add_option("MODEL", options->model, "checkpoint folder")
      ->required()
      ->check(refuse_empty);
  command->add_flag("--verify", options->verify, "check a quantized checkpoint against its base");
  command->add_option("--base", options->base, "the model it was made from")->check(refuse_empty);
  command->add_option("--threads", options->threads, "of --verify; 0: every core it may use")
      ->check(CLI::Range(0, 4096))
      ->capture_default_str();
  command->add_flag("--json", options->json, "for machines");
  command->callback([options, &outcome] { run(*options, outcome); });
}

}  // namespace squint::cli
