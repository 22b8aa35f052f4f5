// main.cpp: the squint command line.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <new>
#include <string>
#include <vector>

#include "command.h"
#include "interrupt.h"
#include "squint/error.h"
#include "squint/version.h"

namespace squint::cli {
namespace {

int exit_code_of(ErrorCode code) {
  switch (code) {
    case ErrorCode::usage:
      return kWrongUsage;
    case ErrorCode::bad_input:
    case ErrorCode::unsupported:
    case ErrorCode::io:
      return kWrongInput;
    case ErrorCode::interrupted:
      return kInterrupted;
    case ErrorCode::out_of_memory:
      break;
  }
  return kFailed;
}

// CLI11 only says that a command is required, even where one was given that it does not know.
std::string unknown_command(const CLI::App& app) {
  const CLI::App* command = &app;
  while (!command->get_subcommands().empty()) command = command->get_subcommands().front();
  const bool has_commands = !command->get_subcommands({}).empty();
  const std::vector<std::string> unknown = command->remaining();
  return has_commands && !unknown.empty() ? unknown.front() : "";
}

int run(int argc, char** argv) {
  const InterruptWatch interrupt;
  Outcome outcome{.stop = interrupt.token()};
  CLI::App app("squint: quantizes Qwen3-VL to 4 bits, proves that it still reads, and runs it.");
  app.set_version_flag("--version", kVersion);
  app.require_subcommand(1);
  app.fallthrough(false);
  add_inspect(app, outcome);
  add_quantize(app, outcome);
  add_run(app, outcome);
  add_eval(app, outcome);
  add_compare(app, outcome);
  add_report(app, outcome);
  try {
    app.parse(argc, argv);
  } catch (const CLI::RequiredError& e) {
    const std::string unknown = unknown_command(app);
    if (unknown.empty()) {
      app.exit(e);
    } else {
      fmt::print(stderr, "{}: unknown command or option\nRun with --help for more information.\n",
                 unknown);
    }
    return kWrongUsage;
  } catch (const CLI::ParseError& e) {
    // --help and --version come here too, with code 0.
    return app.exit(e) == 0 ? kOk : kWrongUsage;
  } catch (const Error& e) {
    fmt::print(stderr, "{}{}\n", e.code() == ErrorCode::interrupted ? "" : "error: ", e.what());
    return exit_code_of(e.code());
  } catch (const std::bad_alloc&) {
    fmt::print(stderr, "error: out of memory\n");
    return kFailed;
  } catch (const std::exception& e) {
    fmt::print(stderr, "error: {}\n", e.what());
    return kFailed;
  }
  return outcome.exit_code;
}

}  // namespace
}  // namespace squint::cli

int main(int argc, char** argv) { return squint::cli::run(argc, argv); }
