#include "command_tree.h"

#include <CLI/CLI.hpp>

namespace squint::cli {
namespace {

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  std::string part;
  std::istringstream stream(text);
  while (std::getline(stream, part, separator)) parts.push_back(part);
  return parts;
}

// "on|off|both [on]" and "TEXT:{exact,fast}" say what may be there.
std::vector<std::string> choices_of(const std::string& value) {
  const size_t open = value.find('{');
  const size_t close = value.find('}', open);
  if (open != std::string::npos && close != std::string::npos) {
    return split(value.substr(open + 1, close - open - 1), ',');
  }
  const std::string first = value.substr(0, value.find(' '));
  return first.find('|') != std::string::npos ? split(first, '|') : std::vector<std::string>();
}

std::string type_of(const std::vector<std::string>& choices) {
  std::string text;
  for (const std::string& choice : choices) text += (text.empty() ? "" : "|") + choice;
  return text;
}

OptionFacts facts_of(const CLI::Option& option) {
  OptionFacts facts;
  for (const std::string& name : option.get_snames()) facts.names.push_back("-" + name);
  for (const std::string& name : option.get_lnames()) facts.names.push_back("--" + name);
  facts.description = option.get_description();
  facts.required = option.get_required();
  if (option.get_items_expected_max() == 0) return facts;  // a flag
  const std::string text = option.get_option_text();
  const std::string type = option.get_type_name();
  facts.choices = choices_of(text.empty() ? type : text);
  facts.is_number =
      type.starts_with("INT") || type.starts_with("UINT") || type.starts_with("FLOAT");
  if (option.get_positional()) {
    facts.value = option.get_name(true);
  } else if (!text.empty()) {
    facts.value = text;
  } else {
    facts.value = facts.choices.empty() ? type.substr(0, type.find(':')) : type_of(facts.choices);
    if (!option.get_default_str().empty()) facts.value += " [" + option.get_default_str() + "]";
  }
  return facts;
}

CommandFacts facts_of(const CLI::App& app, std::vector<std::string> path) {
  CommandFacts facts;
  facts.path = std::move(path);
  facts.description = app.get_description();
  facts.footer = app.get_footer();
  for (const CLI::Option* option : app.get_options({})) facts.options.push_back(facts_of(*option));
  for (const CLI::App* command : app.get_subcommands({})) {
    std::vector<std::string> below = facts.path;
    below.push_back(command->get_name());
    facts.commands.push_back(facts_of(*command, std::move(below)));
  }
  return facts;
}

void add_all(const CommandFacts& command, std::vector<const CommandFacts*>& to) {
  to.push_back(&command);
  for (const CommandFacts& below : command.commands) add_all(below, to);
}

}  // namespace

CommandFacts command_tree(const CLI::App& app) { return facts_of(app, {}); }

std::vector<const CommandFacts*> all_commands(const CommandFacts& tree) {
  std::vector<const CommandFacts*> all;
  add_all(tree, all);
  return all;
}

}  // namespace squint::cli
