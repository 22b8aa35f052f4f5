#include "quantize/recipe.h"

#include <fmt/format.h>

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

}  // namespace

std::string recipe_yaml(const QuantizeOptions& options) {
  const bool channel = options.group_size == 0;
  return fmt::format(
      R"(default_stage:
  default_modifiers:
{}    QuantizationModifier:
      config_groups:
        group_0:
          targets: [Linear]
          weights:
            num_bits: {}
            type: int
            symmetric: {}
            group_size: {}
            strategy: {}
            dynamic: false
            observer: {}
      ignore: ['re:.*lm_head', 're:.*visual.*']
)",
      options.method == QuantizeMethod::awq ? kAwq : "", options.bits, options.symmetric,
      channel ? -1 : options.group_size, channel ? "channel" : "group",
      options.observer == RangeObserver::mse ? "memoryless_mse" : "memoryless_minmax");
}

}  // namespace squint::quantize
