#include "squint/fit.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>

#include "command.h"
#include "image_size.h"
#include "terminal.h"

namespace squint::cli {
namespace {

struct Options {
  FitOptions fit;
  std::string model;
  std::vector<std::string> images;
  std::optional<int64_t> answer;
  bool quantized = false;
  bool json = false;
  DeviceOptions device{.backend = {}, .fast_answers = true};
};

void run(Options& options, Outcome& outcome) {
  FitOptions& f = options.fit;
  f.model = options.model;
  for (const std::string& image : options.images) f.images.push_back(size_of(image));
  f.answer = options.answer.value_or(std::min<int64_t>(1024, f.context / 2));
  if (options.quantized && !f.bits) f.bits = 4;
  const BackendPtr backend = options.device.open();
  const FitPlan plan = plan_fit(f, *backend);
  fmt::print("{}", options.json ? plan.to_json() + "\n" : plan.to_text(terminal_width()));
  if (!plan.fits) outcome.exit_code = failed;
}

}  // namespace

void add_fit(CLI::App& app, Outcome& outcome) {
  const auto options = std::make_shared<Options>();
  FitOptions& f = options->fit;
  CLI::App* command =
      app.add_subcommand("fit", "What a run will take of memory, and what would fit");
  command->footer(
      "Examples:\n"
      "  squint fit models/reader --image 1024x1024 --context 4096\n"
      "  squint fit config.json --quantized --memory 8G --image 1536x1536\n\n"
      "Reads config.json and opens no weights: a model need not be there. Exit code 1 where the\n"
      "run does not fit --memory.");
  command->add_option("MODEL", options->model, "folder with a config.json, or that file")
      ->required()
      ->check(refuse_empty);
  command->add_option("--memory", f.memory, "that there is, as 8G (K, M, G: powers of ten)")
      ->transform(CLI::AsSizeValue(/*kb_is_1000=*/true));
  command
      ->add_option("--image", options->images, "an image of that size; may be given several times")
      ->allow_extra_args(false)
      ->check(refuse_size);
  command->add_option("--context", f.context, "tokens of prompt and answer")->capture_default_str();
  command->add_option("--answer", options->answer,
                      "of them; else 1024, or half of a shorter context");
  command->add_option("--min-pixels", f.min_pixels, "as squint run has it");
  command->add_option("--max-pixels", f.max_pixels, "as squint run has it");
  command->add_flag("--quantized", options->quantized,
                    "as if squint quantize had packed the text layers");
  command->add_option("--bits", f.bits, "the same, with 4 or 8 bits");
  command->add_option("--group-size", f.group_size, "columns that share a scale; 0: a row")
      ->capture_default_str();
  command->add_flag("--json", options->json, "for machines");
  options->device.add_to(*command);
  command->callback([options, &outcome] { run(*options, outcome); });
}

}  // namespace squint::cli
