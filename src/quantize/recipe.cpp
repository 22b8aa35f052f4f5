#include "quantize/recipe.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace squint::quantize {
namespace {

constexpr const char* kAwq = R"(    AWQModifier:
      mappings:
      - smooth_layer: re:.*input_layernorm$
        balance_layers: ['re:.*q_proj$', 're:.*k_proj$', 're:.*v_proj$']
      - smooth_layer: re:.*post_attention_layernorm$
        balance_layers: ['re:.*gate_proj$', 're:.*up_proj$']
      - smooth_layer: re:.*up_proj$
        balance_layers: ['re:.*down_proj$']
      duo_scaling: true
      n_grid: 20
)";

// Keys that the other tool does not know stand in a comment.
std::string gptq_head(const QuantizeOptions& options) {
  return fmt::format(R"(    # squint: rounds {}, propagation {}, image weight {}
    GPTQModifier:
      block_size: 128
      dampening_frac: {}
      actorder: static
)",
                     options.rounds, options.propagation, options.image_weight, options.dampening);
}

// Which rows the run saw, where it was not simply all.
std::string calibration_comment(const QuantizeOptions& options) {
  if (options.calibration.empty()) return "";
  std::string text;
  if (options.rows > 0) text += fmt::format(", rows {}", options.rows);
  if (options.rows > 0 && options.calibration.size() > 1) {
    text += ", weights";
    for (const CalibrationSource& source : options.calibration) {
      text += fmt::format(" {}", source.weight);
    }
  }
  if (options.seed) text += fmt::format(", seed {}", *options.seed);
  if (options.calibration_tokens > 0)
    text += fmt::format(", tokens {}", options.calibration_tokens);
  return text.empty() ? "" : "# squint: calibration " + text.substr(2) + "\n";
}

// The observer, where llm-compressor knows none of that name.
std::string_view observer_comment(const QuantizeOptions& options) {
  return options.observer == RangeObserver::clip ? "# squint: observer clip\n" : "";
}

std::string group_yaml(size_t number, const io::QuantizationGroup& group) {
  const QuantizationScheme& scheme = group.scheme;
  std::vector<std::string> targets;
  for (const io::ModulePattern& target : group.targets) {
    const bool plain = target.kind() == io::ModulePattern::Kind::class_name;
    targets.push_back(plain ? target.text() : "'" + target.text() + "'");
  }
  const bool channel = scheme.group_size == 0;
  return fmt::format(R"(        group_{}:
          targets: [{}]
          weights:
            num_bits: {}
            type: int
            symmetric: {}
            group_size: {}
            strategy: {}
            dynamic: false
            observer: {}
)",
                     number, fmt::join(targets, ", "), scheme.bits, scheme.symmetric,
                     channel ? -1 : scheme.group_size, channel ? "channel" : "group",
                     group.observer);
}

// Also where the schemes are not chosen yet.
std::string budget_comment(const QuantizeOptions& options) {
  return options.budget ? fmt::format("# squint: budget {}\n", *options.budget) : "";
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
      calibration_comment(options) + std::string(observer_comment(options)) +
      budget_comment(options) + "default_stage:\n  default_modifiers:\n" + (smooth ? kAwq : "") +
      (feedback ? gptq_head(options) : "    QuantizationModifier:\n") + "      config_groups:\n";
  const std::vector<io::QuantizationGroup> groups =
      config_groups(schemes, observer_in_files(options.observer.value_or(RangeObserver::mse)));
  for (size_t i = 0; i < groups.size(); ++i) text += group_yaml(i, groups[i]);
  text += "      ignore: ['re:.*lm_head', 're:.*visual.*'";
  for (const std::string& module : unquantized_modules(schemes)) text += ", '" + module + "'";
  return text + "]\n";
}

}  // namespace squint::quantize
