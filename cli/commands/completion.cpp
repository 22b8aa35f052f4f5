// What a shell needs to complete squint's command line, made from the command line itself.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>

#include "command.h"
#include "command_tree.h"

namespace squint::cli {
namespace {

std::string joined(const std::vector<std::string>& words, std::string_view separator) {
  return fmt::format("{}", fmt::join(words, separator));
}

std::string replaced(std::string text, std::string_view what, std::string_view with) {
  for (size_t at = 0; (at = text.find(what, at)) != std::string::npos; at += with.size()) {
    text.replace(at, what.size(), with);
  }
  return text;
}

bool takes_files(const CommandFacts& command) {
  return std::ranges::any_of(command.options, [](const OptionFacts& option) {
    return option.names.empty() && option.choices.empty();
  });
}

// Up to where a sentence says more than a menu has room for.
std::string brief(const std::string& description) {
  return description.substr(0, description.find_first_of(";:\n"));
}

std::vector<std::string> command_names(const CommandFacts& command) {
  std::vector<std::string> names;
  for (const CommandFacts& below : command.commands) names.push_back(below.name());
  return names;
}

// What may stand behind an option.
std::string bash_values(const OptionFacts& option) {
  if (!option.choices.empty()) {
    return fmt::format("COMPREPLY=($(compgen -W \"{}\" -- \"$word\"))",
                       joined(option.choices, " "));
  }
  return option.is_number ? "COMPREPLY=()" : "COMPREPLY=($(compgen -f -- \"$word\"))";
}

std::string bash(const CommandFacts& tree) {
  std::string values;
  std::string words;
  std::vector<std::string> paths;
  std::vector<std::string> with_files;
  for (const CommandFacts* command : all_commands(tree)) {
    const std::string path = joined(command->path, " ");
    if (!path.empty()) paths.push_back(path);
    if (takes_files(*command)) with_files.push_back(path);
    std::vector<std::string> names = command_names(*command);
    for (const OptionFacts& option : command->options) {
      if (option.names.empty()) {
        names.insert(names.end(), option.choices.begin(), option.choices.end());
        continue;
      }
      names.insert(names.end(), option.names.begin(), option.names.end());
      if (option.value.empty()) continue;
      values += fmt::format("    \"{0} {1}\") {2}; return ;;\n", path,
                            joined(option.names, "\"|\"" + path + " "), bash_values(option));
    }
    words += fmt::format("    \"{}\") words=\"{}\" ;;\n", path, joined(names, " "));
  }
  return fmt::format(R"(# bash completion for squint:  source <(squint completion bash)
_squint() {{
  local word=${{COMP_WORDS[COMP_CWORD]}} command="" words="" i
  for ((i = 1; i < COMP_CWORD; ++i)); do
    case "${{command:+$command }}${{COMP_WORDS[i]}}" in
    "{}") command="${{command:+$command }}${{COMP_WORDS[i]}}" ;;
    esac
  done
  case "$command ${{COMP_WORDS[COMP_CWORD - 1]}}" in
{}  esac
  case "$command" in
{}  esac
  COMPREPLY=($(compgen -W "$words" -- "$word"))
  [[ $word == -* ]] && return
  case "$command" in
    "{}") COMPREPLY+=($(compgen -f -- "$word")) ;;
  esac
}}
complete -o filenames -F _squint squint
)",
                     joined(paths, "\"|\""), values, words, joined(with_files, "\"|\""));
}

std::string quoted(const std::string& text) { return "'" + replaced(text, "'", "'\\''") + "'"; }

std::string fish(const CommandFacts& tree) {
  std::string out = "# fish completion for squint:  squint completion fish | source\n";
  for (const CommandFacts* command : all_commands(tree)) {
    std::string when = "__fish_use_subcommand";
    if (!command->path.empty()) {
      when = "";
      for (const std::string& part : command->path) {
        when += (when.empty() ? "" : "; and ") + ("__fish_seen_subcommand_from " + part);
      }
    }
    if (!command->commands.empty()) {
      std::string none_yet = when;
      for (const CommandFacts& below : command->commands) {
        none_yet += "; and not __fish_seen_subcommand_from " + below.name();
      }
      out += fmt::format("complete -c squint -n '{}' -f\n", none_yet);
    }
    for (const CommandFacts& below : command->commands) {
      out += fmt::format("complete -c squint -n '{}' -a {} -d {}\n", when, below.name(),
                         quoted(brief(below.description)));
    }
    for (const OptionFacts& option : command->options) {
      if (option.names.empty()) {
        if (!option.choices.empty()) {
          out += fmt::format("complete -c squint -n '{}' -f -a '{}'\n", when,
                             joined(option.choices, " "));
        }
        continue;
      }
      out += fmt::format("complete -c squint -n '{}'", when);
      for (const std::string& name : option.names) {
        out += name.starts_with("--") ? " -l " + name.substr(2) : " -s " + name.substr(1);
      }
      if (!option.choices.empty()) {
        out += " -x -a " + quoted(joined(option.choices, " "));
      } else if (!option.value.empty()) {
        out += option.is_number ? " -x" : " -r";
      }
      out += " -d " + quoted(brief(option.description)) + "\n";
    }
  }
  return out;
}

std::string zsh_escaped(std::string text) {
  for (const char* special : {"\\", "[", "]", ":"}) {
    text = replaced(std::move(text), special, std::string("\\") + special);
  }
  return text;
}

std::string zsh_option(const OptionFacts& option) {
  const std::string value = option.value.empty() ? ""
                            : option.choices.empty()
                                ? ":value:_files"
                                : fmt::format(":value:({})", joined(option.choices, " "));
  std::string out;
  for (const std::string& name : option.names) {
    out += " \\\n    " +
           quoted(fmt::format("*{}[{}]{}", name, zsh_escaped(brief(option.description)), value));
  }
  return out;
}

std::string zsh(const CommandFacts& tree) {
  std::string out =
      "#compdef squint\n# zsh completion for squint:  source <(squint completion zsh)\n";
  for (const CommandFacts* command : all_commands(tree)) {
    std::string options;
    for (const OptionFacts& option : command->options) options += zsh_option(option);
    const std::string name =
        "_squint" + (command->path.empty() ? "" : "_" + joined(command->path, "_"));
    out += name + "() {\n";
    if (command->commands.empty()) {
      const auto place = std::ranges::find_if(command->options,
                                              [](const OptionFacts& o) { return o.names.empty(); });
      const std::string argument =
          place == command->options.end() ? ""
          : place->choices.empty()        ? "'*:file:_files'"
                                   : fmt::format("'1:argument:({})'", joined(place->choices, " "));
      out += "  _arguments" + options + (argument.empty() ? "" : " \\\n    " + argument) + "\n}\n";
      continue;
    }
    std::string names;
    std::string cases;
    for (const CommandFacts& below : command->commands) {
      names += " " + quoted(below.name() + ":" + zsh_escaped(brief(below.description)));
      cases += fmt::format("    {}) {}_{} ;;\n", below.name(), name, below.name());
    }
    out += fmt::format(R"(  local state line
  _arguments -C{} \
    '1:command:->command' '*::argument:->argument'
  case $state in
  command) local -a commands=({}); _describe command commands ;;
  argument)
    case $line[1] in
{}    esac ;;
  esac
}}
)",
                       options, names.substr(1), cases);
  }
  return out +
         "if [[ $funcstack[1] == _squint ]]; then _squint \"$@\"; else compdef _squint squint; "
         "fi\n";
}

}  // namespace

void add_completion(CLI::App& app) {
  CLI::App* command =
      app.add_subcommand("completion", "What a shell needs to complete squint's commands");
  command->footer(
      "Examples:\n  source <(squint completion bash)                       in ~/.bashrc\n"
      "  squint completion zsh > ~/.zsh/functions/_squint       in a folder of $fpath\n"
      "  squint completion fish > ~/.config/fish/completions/squint.fish");
  const auto shell = std::make_shared<std::string>();
  command->add_option("SHELL", *shell, "bash, zsh or fish")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh", "fish"}));
  command->callback([&app, shell] {
    const CommandFacts tree = command_tree(app);
    fmt::print("{}", *shell == "bash" ? bash(tree) : *shell == "zsh" ? zsh(tree) : fish(tree));
  });
}

}  // namespace squint::cli
