// The manual page, made from the command line itself: troff for man(1).
#include <fmt/format.h>

#include <CLI/CLI.hpp>

#include "command.h"
#include "command_tree.h"
#include "squint/version.h"

namespace squint::cli {
namespace {

// A line may not begin with a dot or an apostrophe, hyphens are to be copied as such.
std::string troff(const std::string& text) {
  std::string out;
  bool fresh = true;
  for (const char c : text) {
    if (fresh && (c == '.' || c == '\'')) out += "\\&";
    fresh = c == '\n';
    if (c == '\\') {
      out += "\\e";
    } else if (c == '-') {
      out += "\\-";
    } else {
      out += c;
    }
  }
  return out;
}

std::string option_text(const OptionFacts& option) {
  std::string names;
  for (const std::string& name : option.names) {
    names += (names.empty() ? "" : ", ") + ("\\fB" + troff(name) + "\\fR");
  }
  if (!option.value.empty())
    names += (names.empty() ? "" : " ") + ("\\fI" + troff(option.value) + "\\fR");
  return fmt::format(".TP\n{}\n{}\n", names, troff(option.description));
}

std::string command_text(const CommandFacts& command) {
  std::string arguments;
  std::string options;
  for (const OptionFacts& option : command.options) {
    if (option.names.empty()) {
      arguments += " " + (option.required ? option.value : "[" + option.value + "]");
    }
    options += option_text(option);
  }
  std::string out =
      fmt::format(".SS \"squint {} [options]{}\"\n{}\n{}", fmt::join(command.path, " "),
                  troff(arguments), troff(command.description), options);
  if (!command.footer.empty()) out += fmt::format(".PP\n.nf\n{}\n.fi\n", troff(command.footer));
  return out;
}

std::string manual_page(const CommandFacts& tree) {
  std::string commands;
  for (const CommandFacts* command : all_commands(tree)) {
    if (command->commands.empty()) commands += command_text(*command);
  }
  return fmt::format(R"(.TH SQUINT 1 "" "squint {}" "User commands"
.SH NAME
squint \- quantizes Qwen3\-VL to 4 bits, proves that it still reads, and runs it
.SH SYNOPSIS
.B squint
.I command
[options]
.SH COMMANDS
{}.SH EXIT STATUS
.TP
.B 0
done
.TP
.B 1
something went wrong that is none of the following
.TP
.B 2
wrong usage
.TP
.B 3
wrong input: the message says what was expected where, and what was found
.TP
.B 4
interrupted; the same command continues where there is something to continue
.TP
.B 10
report: the second model may have lost more than the margin allows
)",
                     troff(std::string(kVersion)), commands);
}

}  // namespace

void add_manual(CLI::App& app) {
  CLI::App* command = app.add_subcommand("manual", "The manual page of all commands, for man");
  command->footer("Example:\n  squint manual | man -l -");
  command->callback([&app] { fmt::print("{}", manual_page(command_tree(app))); });
}

}  // namespace squint::cli
