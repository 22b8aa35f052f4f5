#include "quantize/mappings.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <string_view>

#include "io/quantization_config.h"
#include "models/qwen3_vl/model.h"
#include "quantize/module_schemes.h"
#include "squint/error.h"

namespace squint::quantize {

using qwen3_vl::LinearRole;
using qwen3_vl::NormRole;
using qwen3_vl::SmoothGroup;

namespace {

std::string norm_module(int64_t layer, NormRole role) {
  std::string name = qwen3_vl::norm_name(layer, role);
  name.resize(name.size() - std::string_view(".weight").size());
  return name;
}

std::string source_module(int64_t layer, const SmoothGroup& group) {
  return group.source_is_norm ? norm_module(layer, group.norm)
                              : qwen3_vl::module_name(layer, group.linear);
}

// The groups of any model of this kind.
std::vector<SmoothGroup> all_groups(qwen3_vl::TextConfig config) {
  config.kv_heads = config.heads;
  return qwen3_vl::smooth_groups(config);
}

class Mapping {
 public:
  explicit Mapping(const SmoothMapping& mapping) : smooth_(mapping.smooth_layer) {
    for (const std::string& balance : mapping.balance_layers) balance_.emplace_back(balance);
  }

  // The group of `layer` that is meant; nullptr where no pattern matches anything in it.
  const SmoothGroup* find(int64_t layer, const std::vector<SmoothGroup>& groups) const {
    std::vector<std::string> sources;
    for (const NormRole role : qwen3_vl::kAllNorms) {
      std::string name = norm_module(layer, role);
      if (smooth_.matches(name)) sources.push_back(std::move(name));
    }
    std::vector<LinearRole> sinks;
    for (const LinearRole role : qwen3_vl::kAllLinears) {
      std::string name = qwen3_vl::module_name(layer, role);
      if (std::ranges::any_of(balance_, [&](const auto& b) { return b.matches(name); })) {
        sinks.push_back(role);
      }
      if (smooth_.matches(name)) sources.push_back(std::move(name));
    }
    if (sources.empty() && sinks.empty()) return nullptr;
    const auto it = std::ranges::find_if(groups, [&](const SmoothGroup& group) {
      return sources == std::vector{source_module(layer, group)} && sinks == group.sinks;
    });
    if (it != groups.end()) return &*it;
    std::vector<std::string_view> named;
    for (const LinearRole role : sinks) named.push_back(qwen3_vl::short_name(role));
    refuse(fmt::format("in layer {} it joins {} → {}", layer, some(sources), some(named)), groups);
  }

  [[noreturn]] void refuse(std::string_view what, const std::vector<SmoothGroup>& groups) const {
    std::vector<std::string_view> names;
    for (const SmoothGroup& group : groups) names.push_back(group.name);
    throw Error(ErrorCode::bad_input,
                fmt::format("mapping of smooth_layer \"{}\": {}; what can be rescaled: {}",
                            smooth_.text(), what, fmt::join(names, "; ")));
  }

 private:
  template <class Names>
  static std::string some(const Names& names) {
    return names.empty() ? "nothing" : fmt::format("{}", fmt::join(names, ", "));
  }

  io::ModulePattern smooth_;
  std::vector<io::ModulePattern> balance_;
};

}  // namespace

const std::vector<SmoothMapping>& default_mappings() {
  static const std::vector<SmoothMapping> kDefault = {
      {"re:.*input_layernorm$", {"re:.*q_proj$", "re:.*k_proj$", "re:.*v_proj$"}},
      {"re:.*v_proj$", {"re:.*o_proj$"}},
      {"re:.*post_attention_layernorm$", {"re:.*gate_proj$", "re:.*up_proj$"}},
      {"re:.*up_proj$", {"re:.*down_proj$"}}};
  return kDefault;
}

SmoothGroups choose_groups(std::span<const SmoothMapping> mappings,
                           const qwen3_vl::TextConfig& config) {
  const std::vector<SmoothGroup> there = qwen3_vl::smooth_groups(config);
  if (mappings.empty()) return {.layers = {static_cast<size_t>(config.layers), there}};
  const std::vector<SmoothGroup> known = all_groups(config);
  SmoothGroups chosen{
      .layers = std::vector<std::vector<SmoothGroup>>(static_cast<size_t>(config.layers))};
  for (const SmoothMapping& text : mappings) {
    const Mapping mapping(text);
    bool matched = false;
    for (int64_t layer = 0; layer < config.layers; ++layer) {
      const SmoothGroup* group = mapping.find(layer, known);
      if (group == nullptr) continue;
      matched = true;
      if (std::ranges::find(there, group->name, &SmoothGroup::name) == there.end()) {
        chosen.left_out = true;
        continue;
      }
      std::vector<SmoothGroup>& groups = chosen.layers[static_cast<size_t>(layer)];
      if (std::ranges::find(groups, group->name, &SmoothGroup::name) != groups.end()) {
        mapping.refuse(fmt::format("{} is there already", group->name), known);
      }
      groups.push_back(*group);
    }
    if (!matched) mapping.refuse("no text layer has such a name", known);
  }
  // The order in which mappings are written makes no difference.
  for (std::vector<SmoothGroup>& groups : chosen.layers) {
    std::ranges::sort(groups, {}, [&](const SmoothGroup& group) {
      return std::ranges::find(there, group.name, &SmoothGroup::name) - there.begin();
    });
  }
  return chosen;
}

std::optional<std::string> note_on_selection(const QuantizeOptions& options,
                                             const qwen3_vl::Config& config) {
  // Recipes for transformers before 4.52 name the vision tower without "model.".
  const std::vector<std::string> others = qwen3_vl::other_linears(config);
  const auto left = std::ranges::find_if(others, [&](const std::string& module) {
    if (module == qwen3_vl::kHead && options.head_bits != 16) return false;
    const size_t prefix = module.starts_with("model.") ? 6 : 0;
    return is_selected(options, module) &&
           is_selected(options, std::string_view(module).substr(prefix));
  });
  if (left == others.end()) return std::nullopt;
  return fmt::format("{} and what else is no text layer stays as it is", *left);
}

}  // namespace squint::quantize
