#include "io/quantization_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <regex>
#include <utility>

#include "io/checkpoint.h"
#include "squint/error.h"

namespace squint::io {
namespace {

constexpr const char* kKey = "quantization_config";
constexpr const char* kMethod = "compressed-tensors";
constexpr const char* kFormat = "pack-quantized";
constexpr const char* kLinearClass = "Linear";
constexpr const char* kEmbeddingClass = "Embedding";
constexpr std::string_view kExpressionMark = "re:";
// Expressions and names come from files. Without lookahead, matching costs at most the product of
// their lengths; each level of nested lookahead multiplies that by the name's length once more.
constexpr size_t kMaxExpressionLength = 512;
constexpr size_t kMaxNameLength = 1024;
constexpr int kMaxLookaheads = 2;

#ifdef __GLIBCXX__
// No backtracking: "(a*)*b" would otherwise take time exponential in the name's length.
constexpr auto kSyntax = std::regex::ECMAScript | std::regex_constants::__polynomial;
#else
constexpr auto kSyntax = std::regex::ECMAScript;
#endif

[[noreturn]] void refuse(std::string_view where, std::string_view what) {
  throw Error(ErrorCode::unsupported,
              fmt::format("{}: {}; supported is {} in {} format: weights as integers of 4 or 8 "
                          "bits with a scale per group or channel",
                          where, what, kMethod, kFormat));
}

int count_lookaheads(std::string_view expression) {
  int count = 0;
  for (size_t at = expression.find("(?"); at != expression.npos;
       at = expression.find("(?", at + 2)) {
    const std::string_view rest = expression.substr(at + 2);
    if (rest.starts_with('=') || rest.starts_with('!')) ++count;
  }
  return count;
}

// What the standard library would accept and then need ages or much of the stack for. A counted
// repeat is compiled to as many copies; names of modules hold no brace.
void check_cost(std::string_view expression) {
  if (expression.find('{') != expression.npos) {
    throw Error(ErrorCode::unsupported,
                fmt::format("module pattern \"{}\" has a '{{'; counted repeats are not supported",
                            expression));
  }
  if (count_lookaheads(expression) > kMaxLookaheads) {
    throw Error(ErrorCode::unsupported,
                fmt::format("module pattern \"{}\" has more than {} lookaheads", expression,
                            kMaxLookaheads));
  }
}

// The class of the reference's module, as far as weights of a class are packed.
std::string_view class_of(std::string_view module) {
  return module.ends_with("embed_tokens") ? kEmbeddingClass : kLinearClass;
}

[[noreturn]] void damaged(std::string_view where, std::string_view what) {
  throw Error(ErrorCode::bad_input, fmt::format("{}: {}", where, what));
}

// The value of an optional key: nullptr where it is absent, null, or an empty object.
const Json* find_value(const Json& object, const char* key) {
  const auto it = object.find(key);
  if (it == object.end() || it->is_null() || (it->is_object() && it->empty())) return nullptr;
  return &*it;
}

// `key`, where present, must be `expected`.
void require(const Json& object, const char* key, const Json& expected, std::string_view where) {
  const Json* value = find_value(object, key);
  if (value != nullptr && *value != expected) {
    refuse(where, fmt::format("\"{}\" is {}, not {}", key, value->dump(), expected.dump()));
  }
}

void require_absent(const Json& object, const char* key, std::string_view where) {
  if (find_value(object, key) != nullptr) refuse(where, fmt::format("\"{}\" is set", key));
}

int64_t group_size_of(const Json& weights, std::string_view where) {
  const std::string strategy = string_member(weights, "strategy", where);
  if (strategy == "channel") return 0;
  if (strategy != "group") refuse(where, fmt::format("the strategy is \"{}\"", strategy));
  const int64_t group_size = int_member(weights, "group_size", where);
  if (group_size <= 0) {
    damaged(where, fmt::format("\"group_size\" should be positive, but is {}", group_size));
  }
  return group_size;
}

QuantizationScheme parse_scheme(const Json& weights, std::string_view where) {
  if (!weights.is_object()) refuse(where, "there is no description of quantized weights");
  require(weights, "type", "int", where);
  require(weights, "dynamic", false, where);
  require_absent(weights, "block_structure", where);
  if (const Json* order = find_value(weights, "actorder")) {
    // These two change which values were chosen, not where they are stored.
    if (*order != "static" && *order != "weight" && *order != false) {
      refuse(where,
             fmt::format("\"actorder\" is {}: columns are stored in another order", order->dump()));
    }
  }
  const int64_t bits = int_member(weights, "num_bits", where);
  if (bits != 4 && bits != 8) refuse(where, fmt::format("weights have {} bits", bits));
  return {.bits = static_cast<int>(bits),
          .group_size = group_size_of(weights, where),
          .symmetric = bool_member(weights, "symmetric", where)};
}

std::vector<ModulePattern> parse_patterns(const Json& list, std::string_view where) {
  if (!list.is_array()) damaged(where, "expected a list of module names");
  std::vector<ModulePattern> patterns;
  patterns.reserve(list.size());
  for (const Json& entry : list) {
    if (!entry.is_string()) {
      damaged(where, fmt::format("expected a list of module names, found {}", entry.type_name()));
    }
    patterns.emplace_back(entry.get<std::string>());
  }
  return patterns;
}

QuantizationGroup parse_group(const Json& group, std::string_view where) {
  if (!group.is_object()) damaged(where, "expected an object");
  require(group, "format", kFormat, where);
  require_absent(group, "input_activations", where);
  require_absent(group, "output_activations", where);
  const std::string weights_where = fmt::format("{}.weights", where);
  const Json& weights = member(group, "weights", where);
  QuantizationGroup parsed;
  parsed.scheme = parse_scheme(weights, weights_where);
  parsed.targets =
      parse_patterns(member(group, "targets", where), fmt::format("{}.targets", where));
  if (find_value(weights, "observer") != nullptr) {
    parsed.observer = string_member(weights, "observer", weights_where);
  }
  return parsed;
}

// group_2 comes before group_10: the first group that matches wins.
std::vector<std::string> group_names(const Json& groups) {
  std::vector<std::string> names;
  for (const auto& [name, unused] : groups.items()) names.push_back(name);
  std::ranges::stable_sort(names, {}, &std::string::size);
  return names;
}

Json group_json(const QuantizationGroup& group) {
  const QuantizationScheme& scheme = group.scheme;
  const bool channel = scheme.group_size == 0;
  Json targets = Json::array();
  for (const ModulePattern& target : group.targets) targets.push_back(target.text());
  // No scale_dtype and zp_dtype: readers before 0.13 refuse keys that they do not know, and both
  // have the right default in the others.
  return {{"format", kFormat},
          {"input_activations", nullptr},
          {"output_activations", nullptr},
          {"targets", targets},
          {"weights",
           {{"actorder", nullptr},
            {"block_structure", nullptr},
            {"dynamic", false},
            {"group_size", channel ? Json(nullptr) : Json(scheme.group_size)},
            {"num_bits", scheme.bits},
            {"observer", group.observer},
            {"observer_kwargs", Json::object()},
            {"strategy", channel ? "channel" : "group"},
            {"symmetric", scheme.symmetric},
            {"type", "int"}}}};
}

Json to_json(const QuantizationConfig& config) {
  Json groups = Json::object();
  for (size_t i = 0; i < config.groups.size(); ++i) {
    groups[fmt::format("group_{}", i)] = group_json(config.groups[i]);
  }
  Json ignore = Json::array();
  for (const ModulePattern& pattern : config.ignore) ignore.push_back(pattern.text());
  return {{"config_groups", groups},
          {"format", kFormat},
          {"global_compression_ratio", nullptr},
          {"ignore", ignore},
          {"kv_cache_scheme", nullptr},
          {"quant_method", kMethod},
          {"quantization_status", "compressed"},
          {"sparsity_config", Json::object()},
          {"transform_config", Json::object()},
          {"version", "0.18.0"}};  // The format's release, not ours.
}

}  // namespace

struct ModulePattern::Expression {
  std::regex regex;
};

ModulePattern::ModulePattern(std::string text) : text_(std::move(text)) {
  if (!text_.starts_with(kExpressionMark)) return;
  if (text_.size() > kMaxExpressionLength) {
    throw Error(ErrorCode::unsupported,
                fmt::format("module pattern \"{}...\" is longer than {} characters",
                            text_.substr(0, 40), kMaxExpressionLength));
  }
  check_cost(text_);
  try {
    expression_ = std::make_shared<const Expression>(
        Expression{std::regex(text_.substr(kExpressionMark.size()), kSyntax)});
  } catch (const std::regex_error& e) {
    throw Error(ErrorCode::unsupported,
                fmt::format("module pattern \"{}\" is not a regular expression that squint "
                            "understands: {}",
                            text_, e.what()));
  }
}

ModulePattern::Kind ModulePattern::kind() const {
  if (expression_ != nullptr) return Kind::expression;
  return text_ == kLinearClass || text_ == kEmbeddingClass ? Kind::class_name : Kind::name;
}

bool ModulePattern::matches(std::string_view module) const {
  if (expression_ == nullptr) return text_ == class_of(module) || text_ == module;
  return module.size() <= kMaxNameLength &&
         std::regex_search(module.begin(), module.end(), expression_->regex,
                           std::regex_constants::match_continuous);
}

bool QuantizationConfig::ignores(std::string_view module) const {
  return std::ranges::any_of(ignore, [&](const ModulePattern& p) { return p.matches(module); });
}

const QuantizationGroup* QuantizationConfig::group_of(std::string_view module) const {
  using enum ModulePattern::Kind;
  for (const ModulePattern::Kind kind : {name, expression, class_name}) {
    for (const QuantizationGroup& group : groups) {
      const auto matches = [&](const ModulePattern& p) {
        return p.kind() == kind && p.matches(module);
      };
      if (std::ranges::any_of(group.targets, matches)) return &group;
    }
  }
  return nullptr;
}

std::optional<QuantizationConfig> find_quantization_config(const Json& config,
                                                           std::string_view where) {
  if (!config.is_object()) damaged(where, "expected an object");
  const auto it = config.find(kKey);
  if (it == config.end() || it->is_null()) return std::nullopt;
  const Json& json = *it;
  const std::string here = fmt::format("{}: {}", where, kKey);
  const std::string method = string_member(json, "quant_method", here);
  if (method != kMethod) refuse(here, fmt::format("the method is \"{}\"", method));
  require(json, "format", kFormat, here);
  require(json, "quantization_status", "compressed", here);
  require_absent(json, "kv_cache_scheme", here);
  require_absent(json, "transform_config", here);
  if (const Json* sparsity = find_value(json, "sparsity_config")) {
    require(*sparsity, "format", "dense", fmt::format("{}.sparsity_config", here));
  }
  const Json& groups = member(json, "config_groups", here);
  if (!groups.is_object() || groups.empty()) {
    damaged(here, "\"config_groups\" should be an object with at least one group");
  }
  QuantizationConfig parsed;
  for (const std::string& name : group_names(groups)) {
    parsed.groups.push_back(
        parse_group(groups[name], fmt::format("{}.config_groups.{}", here, name)));
  }
  if (const Json* ignore = find_value(json, "ignore")) {
    parsed.ignore = parse_patterns(*ignore, fmt::format("{}.ignore", here));
  }
  return parsed;
}

std::string quantization_config_json(const QuantizationConfig& config) {
  return to_json(config).dump(2);
}

std::string insert_quantization_config(std::string_view config_text,
                                       const QuantizationConfig& config) {
  OrderedJson json = parse_ordered_json(config_text, kConfigFileName);
  if (!json.is_object()) damaged(kConfigFileName, "expected an object");
  json[kKey] = OrderedJson::parse(quantization_config_json(config));
  return json.dump(2) + "\n";
}

}  // namespace squint::io
