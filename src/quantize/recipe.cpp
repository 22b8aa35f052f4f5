#include "quantize/recipe.h"

#include <fmt/format.h>

#include <algorithm>

#include "models/qwen3_vl/model.h"
#include "quantize/check_options.h"
#include "quantize/mappings.h"
#include "quantize/vocabulary.h"

namespace squint::quantize {
namespace {

std::string in_quotes(std::string_view text) {
  std::string out = "'";
  for (const char c : text) out += c == '\'' ? "''" : std::string(1, c);
  return out + "'";
}

std::string list(const std::vector<std::string>& texts) {
  std::string out;
  for (const std::string& text : texts) out += (out.empty() ? "" : ", ") + in_quotes(text);
  return "[" + out + "]";
}

std::string_view duo_in_files(DuoScaling duo) {
  return duo == DuoScaling::both ? "both" : duo == DuoScaling::on ? "true" : "false";
}

std::string awq_modifier(const QuantizeOptions& options) {
  std::string out = "    AWQModifier:\n      mappings:\n";
  for (const SmoothMapping& mapping :
       options.mappings.empty() ? default_mappings() : options.mappings) {
    out += fmt::format("      - smooth_layer: {}\n        balance_layers: {}\n",
                       in_quotes(mapping.smooth_layer), list(mapping.balance_layers));
  }
  return out + fmt::format("      duo_scaling: {}\n      n_grid: {}\n",
                           duo_in_files(options.duo_scaling), options.grid);
}

std::string gptq_head(const QuantizeOptions& options) {
  return fmt::format(R"(    {}rounds {}, propagation {}, shrinkage {}
    GPTQModifier:
      block_size: 128
      dampening_frac: {}
      actorder: static
)",
                     kRecipeComment, options.rounds, options.propagation, options.shrinkage,
                     options.dampening);
}

// Which rows the run saw, where it was not simply all.
std::string calibration_comment(const QuantizeOptions& options) {
  if (options.calibration.empty()) return "";
  std::string text;
  if (options.image_weight && has_feedback(options)) {
    text += fmt::format(", image weight {}", *options.image_weight);
  }
  if (options.rows > 0) text += fmt::format(", rows {}", options.rows);
  if (options.rows > 0 && options.calibration.size() > 1) {
    text += ", weights";
    for (const CalibrationSource& source : options.calibration) {
      text += fmt::format(" {}", source.weight);
    }
  }
  if (options.joined > 0) text += fmt::format(", joined {}", options.joined);
  if (options.seed) text += fmt::format(", seed {}", *options.seed);
  if (options.calibration_tokens > 0)
    text += fmt::format(", tokens {}", options.calibration_tokens);
  if (options.held_out) text += fmt::format(", held out {}", *options.held_out);
  return text.empty() ? "" : fmt::format("{}calibration {}\n", kRecipeComment, text.substr(2));
}

// The observer, where llm-compressor knows none of that name.
std::string observer_comment(const QuantizeOptions& options) {
  return options.observer == RangeObserver::clip ? fmt::format("{}observer clip\n", kRecipeComment)
                                                 : "";
}

std::string group_yaml(size_t number, const io::QuantizationGroup& group,
                       const std::vector<std::string>& targets) {
  const QuantizationScheme& scheme = group.scheme;
  const bool channel = scheme.group_size == 0;
  return fmt::format(R"(        group_{}:
          targets: {}
          weights:
            num_bits: {}
            type: int
            symmetric: {}
            group_size: {}
            strategy: {}
            dynamic: false
            observer: {}
)",
                     number, list(targets), scheme.bits, scheme.symmetric,
                     channel ? -1 : scheme.group_size, channel ? "channel" : "group",
                     group.observer);
}

std::string scales_comment(const QuantizeOptions& options) {
  return options.symmetric && !options.signed_scales
             ? fmt::format("{}scales positive\n", kRecipeComment)
             : "";
}

// Also where the schemes are not chosen yet.
std::string budget_comment(const QuantizeOptions& options) {
  return options.budget ? fmt::format("{}budget {}\n", kRecipeComment, *options.budget) : "";
}

}  // namespace

std::string_view observer_in_files(RangeObserver observer) {
  if (observer == RangeObserver::imatrix) return "imatrix_mse";
  // llm-compressor has no clip search; its nearest is this.
  return observer == RangeObserver::mse || observer == RangeObserver::clip ? "memoryless_mse"
                                                                           : "memoryless_minmax";
}

std::string recipe_yaml(const QuantizeOptions& options, const ModuleSchemes& schemes) {
  const bool smooth =
      options.method == QuantizeMethod::awq || options.method == QuantizeMethod::awq_gptq;
  const bool feedback =
      options.method == QuantizeMethod::gptq || options.method == QuantizeMethod::awq_gptq;
  std::string text =
      calibration_comment(options) + observer_comment(options) + scales_comment(options) +
      budget_comment(options) + "default_stage:\n  default_modifiers:\n" +
      (smooth ? awq_modifier(options) : "") +
      (feedback ? gptq_head(options) : "    QuantizationModifier:\n") + "      config_groups:\n";
  const std::vector<io::QuantizationGroup> groups =
      config_groups(schemes, observer_in_files(options.observer.value_or(RangeObserver::mse)));
  for (size_t i = 0; i < groups.size(); ++i) {
    std::vector<std::string> targets = options.targets;
    if (groups.size() > 1) {
      targets.clear();
      for (const io::ModulePattern& target : groups[i].targets) targets.push_back(target.text());
    }
    text += group_yaml(i, groups[i], targets);
  }
  if (!packed_tables(options).empty()) {
    const io::QuantizationGroup tables = table_group(options);
    std::vector<std::string> targets;
    for (const io::ModulePattern& target : tables.targets) targets.push_back(target.text());
    text += group_yaml(groups.size(), tables, targets);
  }
  std::vector<std::string> ignore = options.ignore;
  if (options.head_bits != 16) {
    std::erase_if(ignore, [](const std::string& pattern) {
      return io::ModulePattern(pattern).matches(qwen3_vl::kHead);
    });
  }
  for (const std::string& module : unquantized_modules(schemes)) {
    const bool named = std::ranges::any_of(ignore, [&](const std::string& pattern) {
      return io::ModulePattern(pattern).matches(module);
    });
    if (!named) ignore.push_back(module);
  }
  return text + fmt::format("      ignore: {}\n", list(ignore));
}

}  // namespace squint::quantize
