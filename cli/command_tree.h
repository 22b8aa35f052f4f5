// command_tree.h: the commands and options of a program, for what describes them: completions, the
// manual page.
#pragma once

#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace squint::cli {

struct OptionFacts {
  std::vector<std::string> names;  // "-o", "--output"; empty: an argument by place
  std::string value;               // what stands behind it, "FILE"; empty: nothing
  std::string description;
  std::vector<std::string> choices;  // all values it takes, where these are few
  bool is_number = false;
  bool required = false;
};

struct CommandFacts {
  std::vector<std::string> path;  // "eval", "ocrbench"; empty: the program itself
  std::string description;
  std::string footer;
  std::vector<OptionFacts> options;
  std::vector<CommandFacts> commands;

  std::string name() const { return path.empty() ? "" : path.back(); }
};

CommandFacts command_tree(const CLI::App& app);

// The program's own first, then each command followed by its own.
std::vector<const CommandFacts*> all_commands(const CommandFacts& tree);

}  // namespace squint::cli
