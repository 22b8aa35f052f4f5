#include "squint/bench.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "command.h"
#include "image_size.h"
#include "terminal.h"

namespace squint::cli {
namespace {

struct Options {
  BenchOptions bench;
  std::vector<std::string> models;
  std::string image = "1024x1024";
  bool quick = false;
  bool json = false;
  bool markdown = false;
  DeviceOptions device{.backend = {}, .fast_answers = true};
};

// What --quick says, unless a flag says otherwise.
void shorten(Options& options, const CLI::App& command) {
  const auto given = [&](const char* flag) { return command.count(flag) > 0; };
  BenchOptions& b = options.bench;
  if (!given("--rounds")) b.rounds = 2;
  if (!given("--prefill")) b.prefill = {128};
  if (!given("--depth")) b.depth = {0, 128};
  if (!given("--generate")) b.generate = 8;
  if (!given("--image")) options.image = "256x256";
}

void run(Options& options, const CLI::App& command, Outcome& outcome) {
  if (options.quick) shorten(options, command);
  BenchOptions& b = options.bench;
  b.models.assign(options.models.begin(), options.models.end());
  const ImageSize image = size_of(options.image);
  b.image_width = image.width;
  b.image_height = image.height;
  b.stop = outcome.stop;
  Progress progress("bench");
  b.on_progress = [&](const BenchProgress& p) { progress.show(p.done, p.total, p.note); };
  const BackendPtr backend = options.device.open();
  const BenchReport report = run_benchmark(b, *backend);
  progress.finish();
  fmt::print("{}", options.json       ? report.to_json() + "\n"
                   : options.markdown ? report.to_markdown()
                                      : report.to_text(terminal_width()));
  if (!report.same_tokens()) outcome.exit_code = failed;
}

}  // namespace

void add_bench(CLI::App& app, Outcome& outcome) {
  const auto options = std::make_shared<Options>();
  BenchOptions& b = options->bench;
  CLI::App* command = app.add_subcommand("bench", "How fast models are on this machine");
  command->footer(
      "Examples:\n  squint bench models/reader\n"
      "  squint bench models/reader out/reader-w4a16 --quick\n\n"
      "Every round loads each model anew, shows it an image, and gives it prompts. Models take\n"
      "turns. Exit code 1 where an answer has other tokens in a later round.");
  command->add_option("MODEL", options->models, "checkpoint folders, side by side")
      ->required()
      ->check(refuse_empty);
  command->add_flag("--quick", options->quick,
                    "2 rounds, short prompts and answers, a small image");
  command->add_option("--rounds", b.rounds, "of which the median is shown")->capture_default_str();
  command->add_option("--prefill", b.prefill, "prompts of so many tokens, as 128,512")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->capture_default_str();
  command->add_option("--depth", b.depth, "tokens before those that are generated, as 0,2048")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->capture_default_str();
  command->add_option("--generate", b.generate, "tokens of an answer")->capture_default_str();
  command->add_option("--image", options->image, "size of the image; 0x0: none")
      ->check(refuse_size)
      ->capture_default_str();
  auto* json = command->add_flag("--json", options->json, "for machines");
  command->add_flag("--markdown", options->markdown, "a table for a page")->excludes(json);
  options->device.add_to(*command);
  command->callback([options, command, &outcome] { run(*options, *command, outcome); });
}

}  // namespace squint::cli
