#include "quantize/module_schemes.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <numeric>
#include <utility>

#include "base/checked_math.h"
#include "core/packed_int.h"
#include "squint/error.h"

namespace squint::quantize {

using qwen3_vl::LinearRole;
using qwen3_vl::module_name;

namespace {

std::string scheme_text(const std::optional<QuantizationScheme>& scheme) {
  if (!scheme) return "16 bits";
  return fmt::format("{} bits, {}", scheme->bits,
                     scheme->group_size == 0 ? "a scale per row"
                                             : fmt::format("groups of {}", scheme->group_size));
}

std::vector<std::string> module_names(int64_t layers) {
  std::vector<std::string> names;
  for (int64_t layer = 0; layer < layers; ++layer) {
    for (const LinearRole role : qwen3_vl::kAllLinears) names.push_back(module_name(layer, role));
  }
  return names;
}

// Letters to insert, leave out or replace.
size_t edits(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 0; i < a.size(); ++i) {
    size_t diagonal = std::exchange(row[0], i + 1);
    for (size_t j = 0; j < b.size(); ++j) {
      const size_t replaced = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = std::exchange(row[j + 1], std::min({row[j] + 1, row[j + 1] + 1, replaced}));
    }
  }
  return row.back();
}

[[noreturn]] void refuse_unmatched(const std::string& pattern,
                                   const std::vector<std::string>& names) {
  std::string plain = pattern.substr(0, 200);
  std::erase_if(plain, [](char c) { return c == '\\' || c == '*' || c == '$'; });
  const auto nearest = std::ranges::min_element(
      names, {}, [&](const std::string& name) { return edits(plain, name); });
  throw Error(ErrorCode::usage,
              fmt::format("override \"{}\": expected the name of a linear layer of the language "
                          "model, or re: and an expression that matches from its start; it matches "
                          "none; the nearest is {}",
                          pattern, *nearest));
}

std::optional<QuantizationScheme> scheme_of(const SchemeOverride& override,
                                            const QuantizeOptions& options) {
  const int64_t group_size = override.group_size.value_or(options.group_size);
  if (override.bits != 4 && override.bits != 8 && override.bits != 16) {
    throw Error(ErrorCode::usage, fmt::format("override \"{}\": expected 4, 8 or 16 bits, found {}",
                                              override.pattern, override.bits));
  }
  if (group_size < 0 || group_size % 8 != 0) {
    throw Error(ErrorCode::usage,
                fmt::format("override \"{}\": expected groups of a multiple of 8, or 0 for one "
                            "scale per row, found {}",
                            override.pattern, group_size));
  }
  if (override.bits == 16) return std::nullopt;
  return common_scheme(options, override.bits, group_size);
}

void expect_units(const ModuleSchemes& schemes) {
  for (size_t layer = 0; layer < schemes.size(); ++layer) {
    for (const LinearUnit& unit : linear_units()) {
      for (const LinearRole role : unit) {
        if (schemes[layer][role] == schemes[layer][unit[0]]) continue;
        throw Error(ErrorCode::usage,
                    fmt::format("layer {}: {} has {}, {} has {}; loaders fuse {}: override them "
                                "together",
                                layer, qwen3_vl::short_name(unit[0]),
                                scheme_text(schemes[layer][unit[0]]), qwen3_vl::short_name(role),
                                scheme_text(schemes[layer][role]), unit_name(unit)));
      }
    }
  }
}

// re:.*layers\.(0|3)\.self_attn\.(q|k|v)_proj$
std::string expression(const std::vector<size_t>& layers, size_t all, const LinearUnit& unit) {
  const std::string_view room = unit[0] <= LinearRole::o ? "self_attn" : "mlp";
  std::vector<std::string_view> roles;
  for (const LinearRole role : unit) {
    const std::string_view name = qwen3_vl::short_name(role);
    roles.push_back(name.substr(0, name.find('_')));
  }
  return fmt::format(R"(re:.*layers\.{}\.{}\.({})_proj$)",
                     layers.size() == all ? R"(\d+)" : fmt::format("({})", fmt::join(layers, "|")),
                     room, fmt::join(roles, "|"));
}

}  // namespace

const std::vector<LinearUnit>& linear_units() {
  using enum LinearRole;
  static const std::vector<LinearUnit> units = {{q, k, v}, {o}, {gate, up}, {down}};
  return units;
}

std::string unit_name(const LinearUnit& unit) {
  std::vector<std::string_view> names;
  for (const LinearRole role : unit) {
    const std::string_view name = qwen3_vl::short_name(role);
    names.push_back(name.substr(0, name.find('_')));
  }
  return fmt::format("{}", fmt::join(names, ", "));
}

bool is_selected(const QuantizeOptions& options, std::string_view module) {
  const auto matches = [&](const std::string& pattern) {
    return io::ModulePattern(pattern).matches(module);
  };
  return std::ranges::any_of(options.targets, matches) &&
         std::ranges::none_of(options.ignore, matches);
}

// With 8 bits one step more is nothing, and beyond 128 bf16's quotients are whole numbers.
QuantizationScheme common_scheme(const QuantizeOptions& options, int bits, int64_t group_size) {
  return {.bits = bits,
          .group_size = group_size,
          .symmetric = options.symmetric,
          .signed_scales = options.symmetric && bits == 4 && options.signed_scales};
}

ModuleSchemes module_schemes(const QuantizeOptions& options, int64_t layers) {
  const QuantizationScheme common = common_scheme(options, options.bits, options.group_size);
  ModuleSchemes schemes(static_cast<size_t>(layers));
  const std::vector<std::string> names = module_names(layers);
  const auto scheme_at = [&](size_t i) -> std::optional<QuantizationScheme>& {
    return schemes[i / qwen3_vl::kLinearRoles].linears[i % qwen3_vl::kLinearRoles];
  };
  for (size_t i = 0; i < names.size(); ++i) {
    if (is_selected(options, names[i])) scheme_at(i) = common;
  }
  for (const SchemeOverride& override : options.overrides) {
    const std::optional<QuantizationScheme> scheme = scheme_of(override, options);
    const io::ModulePattern pattern(override.pattern);
    bool matched = false;
    for (size_t i = 0; i < names.size(); ++i) {
      if (!pattern.matches(names[i])) continue;
      scheme_at(i) = scheme;
      matched = true;
    }
    if (!matched && !names.empty()) refuse_unmatched(override.pattern, names);
  }
  expect_units(schemes);
  if (!names.empty() && unquantized_modules(schemes).size() == names.size()) {
    throw Error(ErrorCode::usage,
                "targets, ignore and overrides leave every layer in 16 bits: nothing to quantize");
  }
  return schemes;
}

bool is_fixed(const QuantizeOptions& options, const std::string& module) {
  return !is_selected(options, module) ||
         std::ranges::any_of(options.overrides, [&](const SchemeOverride& override) {
           return io::ModulePattern(override.pattern).matches(module);
         });
}

std::vector<io::QuantizationGroup> config_groups(const ModuleSchemes& schemes,
                                                 std::string_view observer) {
  std::vector<io::QuantizationGroup> groups;
  for (const BlockSchemes& block : schemes) {
    for (const auto& scheme : block.linears) {
      if (!scheme ||
          std::ranges::find(groups, *scheme, &io::QuantizationGroup::scheme) != groups.end()) {
        continue;
      }
      groups.push_back({.scheme = *scheme, .observer = std::string(observer)});
    }
  }
  if (groups.size() < 2) return groups;
  for (io::QuantizationGroup& group : groups) {
    group.targets.clear();
    for (const LinearUnit& unit : linear_units()) {
      std::vector<size_t> layers;
      for (size_t layer = 0; layer < schemes.size(); ++layer) {
        if (schemes[layer][unit[0]] == group.scheme) layers.push_back(layer);
      }
      if (layers.empty()) continue;
      group.targets.emplace_back(expression(layers, schemes.size(), unit));
    }
  }
  return groups;
}

std::vector<std::string> unquantized_modules(const ModuleSchemes& schemes) {
  std::vector<std::string> names;
  for (size_t layer = 0; layer < schemes.size(); ++layer) {
    for (const LinearRole role : qwen3_vl::kAllLinears) {
      if (!schemes[layer][role]) names.push_back(module_name(static_cast<int64_t>(layer), role));
    }
  }
  return names;
}

int64_t stored_bits(int64_t out, int64_t in, const std::optional<QuantizationScheme>& scheme) {
  if (!scheme) return out * in * 16;
  const int64_t per_word = codes_per_word(scheme->bits);
  const int64_t words = out * ceil_div(in, per_word);
  const int64_t zeros = scheme->symmetric ? 0 : ceil_div(out, per_word);
  return 32 * words + scheme->groups(in) * (16 * out + 32 * zeros);
}

}  // namespace squint::quantize
