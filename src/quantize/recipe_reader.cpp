// recipe_reader.cpp: recipes as options. Every key is honoured, refused, or named in a note.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>
#include <map>
#include <optional>
#include <span>

#include "io/mapped_file.h"
#include "io/quantization_config.h"
#include "models/qwen3_vl/model.h"
#include "quantize/awq.h"
#include "quantize/mappings.h"
#include "quantize/nearest_name.h"
#include "quantize/recipe.h"
#include "quantize/recipe_comments.h"
#include "quantize/vocabulary.h"
#include "quantize/yaml.h"
#include "quantize/yaml_reader.h"
#include "squint/error.h"

namespace squint {
namespace {

using namespace quantize;
using Kind = YamlNode::Kind;
using Handler = YamlReader::Handler;
using Keys = YamlReader::Keys;

constexpr size_t kMaxMappings = 64;
constexpr size_t kMaxGroups = 64;
constexpr std::string_view kSupported =
    "squint quantizes weights alone, to integers of 4 or 8 bits with a scale per group or channel: "
    "W4A16, W4A16_ASYM, W8A16";

std::optional<RangeObserver> observer_named(std::string_view name) {
  if (name == "minmax" || name == "static_minmax" || name == "memoryless_minmax") {
    return RangeObserver::minmax;
  }
  if (name == "mse" || name == "memoryless_mse") return RangeObserver::mse;
  if (name == "imatrix_mse") return RangeObserver::imatrix;
  return std::nullopt;
}

struct Scheme {
  int line = 0;  // 0: not given
  int bits = 8;
  int64_t group_size = 0;  // 0: a row
  bool symmetric = true;
  RangeObserver observer = RangeObserver::minmax;
  bool ordered = false;  // actorder: static
};

// What a modifier says of the integers.
struct Quantizer {
  Scheme scheme;                          // of the first group
  bool scheme_in_groups = false;          // each with its targets
  std::vector<SchemeOverride> overrides;  // the other groups
  std::optional<RangeObserver> observer;  // of all groups
  std::vector<std::string> targets = {"Linear"};
  std::vector<std::string> ignore;
  int line = 0;  // of any of this; 0: nothing
};

class RecipeReader : YamlReader {
 public:
  RecipeReader(std::string_view where, QuantizeOptions& options)
      : YamlReader(where), options_(options) {}

  std::vector<std::string> read(const YamlNode& root, std::string_view text) {
    options_.rounds = QuantizeOptions().rounds;
    options_.propagation = QuantizeOptions().propagation;
    options_.shrinkage = QuantizeOptions().shrinkage;
    options_.image_weight = QuantizeOptions().image_weight;
    options_.joined = 0;
    for (const YamlNode& stage : members(root)) read_stage(stage);
    finish();
    read_recipe_comments(*this, text, several_, options_, notes_);
    if (!without_meaning_.empty()) {
      notes_.push_back(fmt::format("no difference here: {}", fmt::join(without_meaning_, ", ")));
    }
    return std::move(notes_);
  }

 private:
  // A list of names of layers, or one.
  std::vector<std::string> patterns(const YamlNode& node) const {
    std::vector<std::string> out;
    const std::span<const YamlNode> items =
        node.kind == Kind::list ? std::span(node.items) : std::span(&node, 1);
    for (const YamlNode& item : items) out.push_back(pattern(item));
    return out;
  }
  std::string pattern(const YamlNode& node) const {
    const std::string& name = text(node);
    if (name.empty() || !std::ranges::all_of(name, [](char c) { return c >= ' ' && c <= '~'; })) {
      refuse(node, "expected the name of a layer, in printable ASCII");
    }
    try {
      const io::ModulePattern checked(name);
    } catch (const Error& e) {
      fail(e.code(), node.line, e.what());
    }
    return name;
  }

  Handler meaningless() {
    return [this](const YamlNode& node) {
      without_meaning_.push_back(fmt::format("{} (line {})", node.key, node.line));
    };
  }
  // For what squint does one way only; `expected` also says so in the message.
  Handler only(std::string expected) const {
    return [this, expected = std::move(expected)](const YamlNode& node) {
      if (node.kind == Kind::scalar && node.text == expected) return;
      cannot(node, fmt::format("{} must be {}, or left out; {}", node.key, expected, kSupported));
    };
  }
  Handler must_be_false() const {
    return [this](const YamlNode& node) {
      if (boolean(node)) {
        cannot(node, fmt::format("{} must be false, or left out; {}", node.key, kSupported));
      }
    };
  }

  void read_stage(const YamlNode& stage) {
    if (stage.key == "args" && stage.items.empty() && stage.kind != Kind::scalar) return;
    if (!stage.key.ends_with("_stage")) {
      refuse(stage, fmt::format("unknown key \"{}\"; a stage's name ends in _stage, as in "
                                "default_stage",
                                stage.key));
    }
    for (const YamlNode& group : members(stage)) {
      if (group.key == "run_type") {
        meaningless()(group);
        continue;
      }
      if (!group.key.ends_with("_modifiers")) {
        refuse(group, fmt::format("unknown key \"{}\"; modifiers stand under a name that ends in "
                                  "_modifiers, as in default_modifiers",
                                  group.key));
      }
      if (group.kind == Kind::list) {
        for (const YamlNode& item : group.items) {
          for (const YamlNode& modifier : members(item)) read_modifier(modifier);
        }
      } else {
        for (const YamlNode& modifier : members(group)) read_modifier(modifier);
      }
    }
  }

  void read_modifier(const YamlNode& node) {
    const auto once = [&](int& line) {
      if (line > 0) refuse(node, fmt::format("{} follows another, of line {}", node.key, line));
      line = node.line;
    };
    if (node.key == "AWQModifier") {
      if (quantizer_line_ > 0) {
        cannot(node, "AWQModifier must come before the modifier that quantizes");
      }
      once(awq_line_);
      read_awq(node);
    } else if (node.key == "GPTQModifier") {
      once(quantizer_line_);
      feedback_ = true;
      read_gptq(node);
    } else if (node.key == "QuantizationModifier") {
      once(quantizer_line_);
      take(node, quantizer_keys(quantizer_));
    } else {
      static const std::vector<std::string_view> kModifiers = {"AWQModifier", "GPTQModifier",
                                                               "QuantizationModifier"};
      const std::string near = nearest(node.key, kModifiers);
      const std::string_view known = "squint runs AWQModifier, GPTQModifier, QuantizationModifier";
      if (edit_distance(node.key, near) < 6) {
        refuse(node,
               fmt::format("unknown modifier \"{}\"; is \"{}\" meant? {}", node.key, near, known));
      }
      cannot(node, fmt::format("modifier \"{}\": {}", node.key, known));
    }
  }

  void read_awq(const YamlNode& node) {
    Keys keys = quantizer_keys(awq_quantizer_);
    const Handler old = [this](const YamlNode& n) {
      cannot(n, fmt::format("{} is how llm-compressor 0.5 wrote it; write scheme: W4A16, or "
                            "config_groups",
                            n.key));
    };
    for (const char* key : {"bits", "num_bits", "symmetric", "group_size"}) keys[key] = old;
    for (const char* key : {"offload_device", "max_chunk_memory"}) keys[key] = meaningless();
    keys["mappings"] = [this](const YamlNode& n) { read_mappings(n); };
    keys["duo_scaling"] = [this](const YamlNode& n) {
      options_.duo_scaling = text(n) == "both" ? DuoScaling::both
                             : boolean(n)      ? DuoScaling::on
                                               : DuoScaling::off;
    };
    int grid_line = node.line;
    keys["n_grid"] = [&](const YamlNode& n) {
      grid_line = n.line;
      options_.grid = number<int>(n, 1, 1000);
    };
    options_.duo_scaling = DuoScaling::on;
    options_.grid = 20;
    options_.mappings.clear();
    take(node, keys);
    const int least = smallest_grid(options_.duo_scaling);
    if (options_.grid < least) {
      fail(ErrorCode::bad_input, grid_line,
           fmt::format("n_grid: expected at least {} with duo scaling {}, found {}", least,
                       name(options_.duo_scaling), options_.grid));
    }
  }

  void read_mappings(const YamlNode& node) {
    if (node.kind != Kind::list) refuse(node, "mappings: expected a list");
    if (node.items.size() > kMaxMappings) {
      refuse(node, fmt::format("mappings: more than {}", kMaxMappings));
    }
    for (const YamlNode& item : node.items) {
      SmoothMapping mapping;
      take(item, {{"smooth_layer", [&](const YamlNode& n) { mapping.smooth_layer = pattern(n); }},
                  {"balance_layers",
                   [&](const YamlNode& n) {
                     mapping.balance_layers = patterns(n);
                     if (mapping.balance_layers.size() > kMaxMappings) {
                       refuse(n, fmt::format("balance_layers: more than {}", kMaxMappings));
                     }
                   }},
                  {"activation_hook_target", [&](const YamlNode& n) {
                     cannot(n,
                            "activation_hook_target: squint takes the inputs of the balance "
                            "layers themselves");
                   }}});
      if (mapping.smooth_layer.empty() || mapping.balance_layers.empty()) {
        refuse(item, "a mapping needs smooth_layer and balance_layers");
      }
      options_.mappings.push_back(std::move(mapping));
    }
    if (options_.mappings == default_mappings()) options_.mappings.clear();
  }

  void read_gptq(const YamlNode& node) {
    Keys keys = quantizer_keys(quantizer_);
    for (const char* key : {"offload_hessians", "sequential_update"}) keys[key] = meaningless();
    keys["block_size"] = [this](const YamlNode& n) {
      // Updates between blocks are exact: their size only decides when they happen.
      if (number<int64_t>(n, 1, INT64_MAX) != 128) meaningless()(n);
    };
    keys["dampening_frac"] = [this](const YamlNode& n) {
      options_.dampening = number<double>(n, 0, 1);
    };
    keys["actorder"] = [this](const YamlNode& n) { order_is_static(n); };
    const auto order = std::ranges::find(node.items, "actorder", &YamlNode::key);
    if (order != node.items.end() && order->kind == Kind::null) order_is_static(*order);
    options_.dampening = 0.01;
    take(node, keys);
  }

  bool order_is_static(const YamlNode& node) const {
    if (node.kind == Kind::scalar && (node.text == "static" || node.text == "weight")) return true;
    cannot(node,
           "actorder: squint takes columns by their activations and keeps groups where they are: "
           "static, also called weight");
  }

  Keys quantizer_keys(Quantizer& q) {
    const Handler unset = only("null");
    Keys keys;
    for (const char* key : {"index", "group", "start", "end", "update", "kv_cache_scheme"}) {
      keys[key] = unset;
    }
    for (const char* key : {"pipeline", "sequential_targets", "sequential_offload_device",
                            "propagate_error", "input_observer", "output_observer",
                            "disable_quantization_observer_epoch", "num_calibration_steps"}) {
      keys[key] = meaningless();
    }
    // Follows from the others; llm-compressor writes it.
    keys["requires_calibration_data"] = [this](const YamlNode& n) { boolean(n); };
    keys["bypass_divisibility_checks"] = must_be_false();
    const auto part = [&](const char* key, Handler handler) {
      keys[key] = [&q, handler = std::move(handler)](const YamlNode& n) {
        q.line = n.line;
        handler(n);
      };
    };
    part("scheme", [this, &q](const YamlNode& n) { read_scheme(n, q); });
    part("config_groups", [this, &q](const YamlNode& n) { read_groups(n, q); });
    part("targets", [this, &q](const YamlNode& n) {
      if (!groups_given_) q.targets = patterns(n);
    });
    part("ignore", [this, &q](const YamlNode& n) { q.ignore = patterns(n); });
    part("weight_observer", [this, &q](const YamlNode& n) { q.observer = observer(n); });
    part("observer", [this, &q](const YamlNode& n) {
      if (n.kind != Kind::map) {
        q.observer = observer(n);
        return;
      }
      take(n, {{"weights", [&](const YamlNode& w) { q.observer = observer(w); }},
               {"input", meaningless()},
               {"output", meaningless()}});
    });
    return keys;
  }

  RangeObserver observer(const YamlNode& node) const {
    const std::optional<RangeObserver> found = observer_named(text(node));
    if (found) return *found;
    cannot(node, fmt::format("observer \"{}\"; squint has minmax, mse and imatrix_mse",
                             node.text.substr(0, 64)));
  }

  void give(Quantizer& q, const YamlNode& node, Scheme scheme) const {
    if (q.scheme.line > 0) {
      refuse(node, fmt::format("the scheme is given twice, here and on line {}", q.scheme.line));
    }
    scheme.line = node.line;
    q.scheme = scheme;
  }

  // "W4A16", or {W4A16: [Linear]}
  void read_scheme(const YamlNode& node, Quantizer& q) {
    if (node.kind == Kind::map) {
      read_groups(node, q);
      return;
    }
    give(q, node, preset(node, text(node)));
  }

  Scheme preset(const YamlNode& node, std::string name) const {
    std::ranges::transform(name, name.begin(), [](unsigned char c) { return std::toupper(c); });
    static const std::map<std::string, Scheme, std::less<>> kPresets = {
        {"W4A16", {.bits = 4, .group_size = 128}},
        {"W4A16_ASYM", {.bits = 4, .group_size = 128, .symmetric = false}},
        {"W8A16", {.bits = 8, .group_size = 128}}};
    const auto it = kPresets.find(name);
    if (it != kPresets.end()) return it->second;
    cannot(node, fmt::format("scheme \"{}\"; {}", name.substr(0, 64), kSupported));
  }

  void read_groups(const YamlNode& node, Quantizer& q) {
    groups_given_ = true;
    const auto count =
        std::ranges::count_if(members(node), [&](const YamlNode& n) { return !names_tables(n); });
    if (count == 0) cannot(node, fmt::format("{}: no group is of the text layers", node.key));
    if (static_cast<size_t>(count) > kMaxGroups) {
      refuse(node, fmt::format("{}: more than {} groups", node.key, kMaxGroups));
    }
    for (const YamlNode& group : node.items) read_group(group, q);
  }

  // Whether a group is of the head, the embeddings, or both.
  bool names_tables(const YamlNode& group) const {
    const auto targets = std::ranges::find(group.items, "targets", &YamlNode::key);
    if (group.kind != Kind::map || targets == group.items.end()) return false;
    const std::vector<std::string> names = patterns(*targets);
    return !names.empty() && std::ranges::all_of(names, [](const std::string& name) {
      return table_named(name).has_value();
    });
  }

  void read_group(const YamlNode& group, Quantizer& q) {
    if (group.kind == Kind::list || group.kind == Kind::scalar) {
      take_group(group, patterns(group), preset(group, group.key), q);
      return;
    }
    std::optional<Scheme> scheme;
    std::vector<std::string> targets;
    const auto activations = [this](const YamlNode& n) {
      cannot(n, fmt::format("{}: activations stay as they are; {}", n.key, kSupported));
    };
    take(group, {{"targets", [&](const YamlNode& n) { targets = patterns(n); }},
                 {"weights", [&](const YamlNode& n) { scheme = read_weights(n); }},
                 {"input_activations", activations},
                 {"output_activations", activations},
                 {"format", only("pack-quantized")}});
    if (!scheme || targets.empty()) refuse(group, "a group needs targets and weights");
    if (names_tables(group)) {
      read_tables(group, targets, *scheme);
      return;
    }
    take_group(group, targets, *scheme, q);
  }

  // The first group's scheme is that of all layers, those of the others are overrides.
  void take_group(const YamlNode& group, const std::vector<std::string>& targets,
                  const Scheme& scheme, Quantizer& q) const {
    if (q.scheme.line == 0 || !q.scheme_in_groups) {
      give(q, group, scheme);
      q.targets = targets;
      q.scheme_in_groups = true;
      return;
    }
    if (scheme.symmetric != q.scheme.symmetric || scheme.observer != q.scheme.observer) {
      cannot(group, fmt::format("{} and the group of line {} differ in symmetric or observer, "
                                "which squint has alike in all layers",
                                group.key, q.scheme.line));
    }
    for (const std::string& target : targets) {
      q.targets.push_back(target);
      q.overrides.push_back(
          {.pattern = target, .bits = scheme.bits, .group_size = scheme.group_size});
    }
  }

  void read_tables(const YamlNode& group, const std::vector<std::string>& targets,
                   const Scheme& scheme) {
    if (scheme.bits != 8 || !scheme.symmetric) {
      cannot(group, "head and embeddings get 8 bits without zero points, or stay as they are");
    }
    for (const std::string& target : targets) {
      (table_named(target) == qwen3_vl::kHead ? options_.head_bits : options_.embedding_bits) = 8;
    }
    tables_ = scheme;
    tables_.line = group.line;
  }

  Scheme read_weights(const YamlNode& node) {
    Scheme scheme;
    std::optional<int64_t> group_size;
    std::string strategy;
    Keys keys = {
        {"num_bits", [&](const YamlNode& n) { scheme.bits = number<int>(n, 1, 64); }},
        {"type", only("int")},
        {"symmetric", [&](const YamlNode& n) { scheme.symmetric = boolean(n); }},
        {"group_size",
         [&](const YamlNode& n) { group_size = number<int64_t>(n, -1, int64_t{1} << 40); }},
        {"strategy", [&](const YamlNode& n) { strategy = text(n); }},
        {"dynamic", must_be_false()},
        {"actorder",
         [&](const YamlNode& n) {
           // false is how older files say that there is none.
           const bool none = n.kind == Kind::scalar && (n.text == "false" || n.text == "False");
           if (!none) scheme.ordered = order_is_static(n);
         }},
        {"observer", [&](const YamlNode& n) { scheme.observer = observer(n); }},
        {"observer_kwargs", [this](const YamlNode& n) {
           if (n.kind == Kind::map && n.items.empty()) return;
           cannot(n, "observer_kwargs: squint's observers have no settings; leave it out");
         }}};
    for (const char* key : {"block_structure", "scale_dtype"}) keys[key] = only("null");
    keys["zp_dtype"] = only("torch.int8");
    take(node, keys);
    if (scheme.bits != 4 && scheme.bits != 8) {
      cannot(node, fmt::format("num_bits {}; {}", scheme.bits, kSupported));
    }
    scheme.group_size = columns_of(node, strategy, group_size);
    return scheme;
  }

  // Columns that share a scale; 0: a row.
  int64_t columns_of(const YamlNode& node, std::string strategy,
                     std::optional<int64_t> group_size) const {
    if (strategy.empty()) {
      strategy = !group_size ? "tensor" : *group_size < 0 ? "channel" : "group";
    }
    if (strategy == "channel" && group_size.value_or(-1) == -1) return 0;
    if (strategy == "group" && group_size.value_or(-1) > 0) {
      if (*group_size % 8 == 0) return *group_size;
      cannot(node, fmt::format("group_size {}; loaders take multiples of 8", *group_size));
    }
    if (strategy == "channel" || strategy == "group") {
      refuse(node, fmt::format("strategy {} and group_size {} do not go together", strategy,
                               group_size ? fmt::format("{}", *group_size) : "null"));
    }
    cannot(node, fmt::format("strategy \"{}\"; {}", strategy.substr(0, 64), kSupported));
  }

  void finish() {
    Quantizer& q = quantizer_line_ > 0 ? quantizer_ : awq_quantizer_;
    if (quantizer_line_ > 0 && awq_quantizer_.line > 0) {
      fail(ErrorCode::unsupported, awq_quantizer_.line,
           fmt::format("the modifier of line {} quantizes; scheme, targets, ignore and observer "
                       "belong there",
                       quantizer_line_));
    }
    if (q.scheme.line == 0) {
      throw Error(ErrorCode::bad_input,
                  fmt::format("{}: no modifier has a scheme or config_groups; one that quantizes "
                              "must follow AWQModifier, or say scheme: W4A16 in it",
                              where()));
    }
    const bool smooth = awq_line_ > 0;
    options_.method = smooth ? (feedback_ ? QuantizeMethod::awq_gptq : QuantizeMethod::awq)
                             : (feedback_ ? QuantizeMethod::gptq : QuantizeMethod::rtn);
    if (q.scheme.ordered && !feedback_) {
      without_meaning_.push_back("actorder, without GPTQModifier");
    }
    if (tables_.line > 0 && tables_.group_size != q.scheme.group_size) {
      fail(ErrorCode::unsupported, tables_.line,
           "head and embeddings get groups of the same size as the other layers");
    }
    options_.bits = q.scheme.bits;
    options_.group_size = q.scheme.group_size;
    options_.symmetric = q.scheme.symmetric;
    options_.observer = q.observer.value_or(q.scheme.observer);
    options_.targets = std::move(q.targets);
    options_.ignore = std::move(q.ignore);
    options_.overrides.insert(options_.overrides.begin(), q.overrides.begin(), q.overrides.end());
    several_ = !q.overrides.empty();
  }

  QuantizeOptions& options_;
  int awq_line_ = 0;
  int quantizer_line_ = 0;
  bool feedback_ = false;
  bool several_ = false;       // groups
  bool groups_given_ = false;  // whose targets count, not those of the modifier
  Quantizer awq_quantizer_;
  Quantizer quantizer_;
  Scheme tables_;  // of head and embeddings
  std::vector<std::string> without_meaning_;
  std::vector<std::string> notes_;
};

}  // namespace

namespace quantize {

std::vector<std::string> read_recipe(std::string_view text, std::string_view where,
                                     QuantizeOptions& options) {
  const YamlNode root = parse_yaml(text, where);
  return RecipeReader(where, options).read(root, text);
}

}  // namespace quantize

std::vector<std::string> apply_recipe(const std::filesystem::path& file, QuantizeOptions& options) {
  const std::string all = io::read_file(file, kMaxYamlBytes);
  std::string_view text = all;
  // Of a model card only what stands between its first two lines of dashes.
  if (file.extension() == ".md") text = text.substr(0, text.find("\n---", 3));
  return read_recipe(text, file.string(), options);
}

}  // namespace squint
