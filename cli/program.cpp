#include "program.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <new>
#include <string>
#include <vector>

#include "squint/error.h"

namespace squint::cli {
namespace {

int exit_code_of(ErrorCode code) {
  switch (code) {
    case ErrorCode::usage:
      return wrong_usage;
    case ErrorCode::bad_input:
    case ErrorCode::unsupported:
    case ErrorCode::io:
      return wrong_input;
    case ErrorCode::interrupted:
      return interrupted;
    case ErrorCode::out_of_memory:
      break;
  }
  return failed;
}

// CLI11 only says that a command is required, even where one was given that it does not know.
std::string unknown_command(const CLI::App& app) {
  const CLI::App* command = &app;
  while (!command->get_subcommands().empty()) command = command->get_subcommands().front();
  const bool has_commands = !command->get_subcommands({}).empty();
  const std::vector<std::string> unknown = command->remaining();
  return has_commands && !unknown.empty() ? unknown.front() : "";
}

// Whether something printed did not arrive. Buffered text only shows it when it is flushed.
bool lost_output() { return std::fflush(stdout) != 0 || std::ferror(stdout) != 0; }

int report_lost_output() {
  fmt::print(stderr, "error: standard output: cannot be written; is the disk full?\n");
  return wrong_input;
}

}  // namespace

int run_program(CLI::App& app, const Outcome& outcome, int argc, char** argv) {
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
    return wrong_usage;
  } catch (const CLI::ParseError& e) {
    // --help and --version come here too, with code 0.
    if (app.exit(e) != 0) return wrong_usage;
    return lost_output() ? report_lost_output() : ok;
  } catch (const Error& e) {
    fmt::print(stderr, "{}{}\n", e.code() == ErrorCode::interrupted ? "" : "error: ", e.what());
    return exit_code_of(e.code());
  } catch (const std::bad_alloc&) {
    fmt::print(stderr, "error: out of memory\n");
    return failed;
  } catch (const std::exception& e) {
    if (lost_output()) return report_lost_output();
    fmt::print(stderr, "error: {}\n", e.what());
    return failed;
  }
  return lost_output() ? report_lost_output() : outcome.exit_code;
}

}  // namespace squint::cli
