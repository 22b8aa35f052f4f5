#include "squint/inspect.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "command.h"
#include "terminal.h"

namespace squint::cli {

void add_inspect(CLI::App& app, Outcome&) {
  struct Options {
    std::string model;
    bool json = false;
  };
  const auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("inspect",
                                         "What is in a checkpoint, and what quantizing "
                                         "would change");
  command->footer("Example:\n  squint inspect models/reader");
  command->add_option("MODEL", options->model, "checkpoint folder")
      ->required()
      ->check(refuse_empty);
  command->add_flag("--json", options->json, "for machines");
  command->callback([options] {
    const Inspection found = inspect(options->model);
    fmt::print("{}{}", options->json ? found.to_json() : found.to_text(terminal_width()),
               options->json ? "\n" : "");
  });
}

}  // namespace squint::cli
