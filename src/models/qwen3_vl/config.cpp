#include "models/qwen3_vl/config.h"

#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "squint/error.h"

namespace squint::qwen3_vl {
namespace {

constexpr std::string_view kArchitecture = "Qwen3VLForConditionalGeneration";

// One object of the file, and what to call it in messages.
struct Section {
  const Json& values;
  std::string where;

  // In [1, limit]: sizes are multiplied later, so each is bounded here.
  int64_t size(std::string_view key, int64_t limit) const {
    const int64_t value = int_member(values, key, where);
    if (value < 1 || value > limit) {
      throw Error(ErrorCode::bad_input,
                  fmt::format("{}: \"{}\" should be 1 to {}, but is {}", where, key, limit, value));
    }
    return value;
  }
  void expect(std::string_view key, const Json& expected) const {
    const auto it = values.find(key);
    if (it != values.end() && *it != expected) {
      throw Error(ErrorCode::unsupported, fmt::format("{}: \"{}\" is {}, supported is {}", where,
                                                      key, it->dump(), expected.dump()));
    }
  }
};

[[noreturn]] void contradiction(std::string_view where, const std::string& what) {
  throw Error(ErrorCode::bad_input, fmt::format("{}: {}", where, what));
}

constexpr int64_t kMaxWidth = 1 << 20;
constexpr int64_t kMaxDepth = 1 << 12;

std::array<int64_t, 3> parse_mrope(const Section& rope, int64_t frequencies) {
  rope.expect("rope_type", "default");
  rope.expect("mrope_interleaved", true);
  const Json& section = member(rope.values, "mrope_section", rope.where);
  std::array<int64_t, 3> out{};
  int64_t sum = 0;
  if (!section.is_array() || section.size() != out.size()) {
    contradiction(rope.where, "\"mrope_section\" should be three numbers");
  }
  for (size_t i = 0; i < out.size(); ++i) {
    if (!section[i].is_number_integer() || section[i] < 0 || section[i] > frequencies) {
      contradiction(rope.where, fmt::format("\"mrope_section\" should hold numbers from 0 to {}, "
                                            "but is {}",
                                            frequencies, section.dump()));
    }
    out[i] = section[i].get<int64_t>();
    sum += out[i];
  }
  if (sum != frequencies) {
    contradiction(rope.where, fmt::format("\"mrope_section\" {} should add up to head_dim / 2 = {}",
                                          section.dump(), frequencies));
  }
  return out;
}

TextConfig parse_text(const Section& s) {
  s.expect("hidden_act", "silu");
  s.expect("attention_bias", false);
  TextConfig c;
  c.hidden = s.size("hidden_size", kMaxWidth);
  c.layers = s.size("num_hidden_layers", kMaxDepth);
  c.heads = s.size("num_attention_heads", 1 << 12);
  c.kv_heads = s.size("num_key_value_heads", c.heads);
  c.head_dim = s.size("head_dim", 1 << 12);
  c.intermediate = s.size("intermediate_size", kMaxWidth);
  c.vocab = s.size("vocab_size", int64_t{1} << 24);
  c.max_positions = s.size("max_position_embeddings", int64_t{1} << 30);
  c.norm_eps = static_cast<float>(number_member(s.values, "rms_norm_eps", s.where));
  if (!(c.norm_eps > 0 && c.norm_eps < 1)) {
    contradiction(s.where, "\"rms_norm_eps\" should be above 0 and below 1");
  }
  if (c.heads % c.kv_heads != 0 || c.heads / c.kv_heads > 32) {
    contradiction(s.where,
                  fmt::format("{} attention heads should be 1 to 32 times the {} key/value "
                              "heads",
                              c.heads, c.kv_heads));
  }
  if (c.head_dim % 2 != 0) contradiction(s.where, "\"head_dim\" should be even");
  // Published: rope_scaling beside rope_theta. Newer: rope_parameters with rope_theta inside.
  const bool newer = s.values.contains("rope_parameters");
  const std::string_view key = newer ? "rope_parameters" : "rope_scaling";
  const Section rope{member(s.values, key, s.where), fmt::format("{}.{}", s.where, key)};
  c.mrope_section = parse_mrope(rope, c.head_dim / 2);
  const Section& theta = newer && rope.values.contains("rope_theta") ? rope : s;
  c.rope_theta = number_member(theta.values, "rope_theta", theta.where);
  if (!(c.rope_theta > 1)) contradiction(s.where, "\"rope_theta\" should be above 1");
  return c;
}

VisionConfig parse_vision(const Section& s) {
  s.expect("hidden_act", "gelu_pytorch_tanh");
  s.expect("in_channels", 3);
  VisionConfig c;
  c.hidden = s.size("hidden_size", kMaxWidth);
  c.depth = s.size("depth", kMaxDepth);
  c.heads = s.size("num_heads", 1 << 12);
  c.intermediate = s.size("intermediate_size", kMaxWidth);
  c.positions = s.size("num_position_embeddings", int64_t{1} << 20);
  c.patch_size = s.size("patch_size", 256);
  c.temporal_patch_size = s.size("temporal_patch_size", 16);
  c.merge_size = s.size("spatial_merge_size", 16);
  c.out_hidden = s.size("out_hidden_size", kMaxWidth);
  if (c.hidden % c.heads != 0 || c.head_dim() % 4 != 0) {
    contradiction(s.where, fmt::format("\"hidden_size\" {} should be a multiple of 4 times the {} "
                                       "heads",
                                       c.hidden, c.heads));
  }
  const auto side = static_cast<int64_t>(std::lround(std::sqrt(static_cast<double>(c.positions))));
  if (side * side != c.positions) {
    contradiction(s.where, fmt::format("\"num_position_embeddings\" {} should be a square, the "
                                       "learned positions form a grid",
                                       c.positions));
  }
  const Json& taps = member(s.values, "deepstack_visual_indexes", s.where);
  if (!taps.is_array()) contradiction(s.where, "\"deepstack_visual_indexes\" should be a list");
  for (const Json& tap : taps) {
    if (!tap.is_number_integer() || tap < 0 || tap >= c.depth) {
      contradiction(s.where, fmt::format("\"deepstack_visual_indexes\" should hold blocks 0 to {}, "
                                         "but is {}",
                                         c.depth - 1, taps.dump()));
    }
    c.deepstack_blocks.push_back(tap.get<int64_t>());
  }
  return c;
}

void expect_architecture(const Json& config, std::string_view where) {
  const auto it = config.find("architectures");
  const bool known =
      it != config.end() && it->is_array() && !it->empty() && (*it)[0] == kArchitecture;
  if (known) return;
  const std::string type = config.value("model_type", Json("?")).dump();
  throw Error(ErrorCode::unsupported,
              fmt::format("{}: \"architectures\" is {} (model_type {}); supported: {} (dense "
                          "Qwen3-VL: 2B, 4B, 8B, 32B)",
                          where, it == config.end() ? "missing" : it->dump(), type, kArchitecture));
}

}  // namespace

std::vector<int64_t> parse_eos_token_ids(const Json& value, std::string_view where) {
  if (value.is_null()) return {};
  const Json list = value.is_array() ? value : Json::array({value});
  std::vector<int64_t> ids;
  for (const Json& id : list) {
    if (!id.is_number_integer() || id < 0) {
      throw Error(ErrorCode::bad_input,
                  fmt::format("{}: \"eos_token_id\" should be a token id or a list of them, but is "
                              "{}",
                              where, value.dump()));
    }
    ids.push_back(id.get<int64_t>());
  }
  return ids;
}

Config parse_config(const Json& config, std::string_view where) {
  if (!config.is_object()) {
    contradiction(where, fmt::format("expected a JSON object, found {}", config.type_name()));
  }
  expect_architecture(config, where);
  const Section top{config, std::string(where)};
  const Section text{member(config, "text_config", where), fmt::format("{}: text_config", where)};
  const Section vision{member(config, "vision_config", where),
                       fmt::format("{}: vision_config", where)};
  Config c;
  c.text = parse_text(text);
  c.vision = parse_vision(vision);
  c.image_token_id = int_member(config, "image_token_id", where);
  c.video_token_id = int_member(config, "video_token_id", where);
  if (const auto eos = text.values.find("eos_token_id"); eos != text.values.end()) {
    c.eos_token_ids = parse_eos_token_ids(*eos, text.where);
  }
  for (const Section& s : {top, text}) {
    if (s.values.contains("tie_word_embeddings") && s.values["tie_word_embeddings"] == true) {
      c.tied_head = true;
    }
  }
  if (c.vision.out_hidden != c.text.hidden) {
    contradiction(where, fmt::format("vision_config.out_hidden_size {} should equal "
                                     "text_config.hidden_size {}",
                                     c.vision.out_hidden, c.text.hidden));
  }
  if (static_cast<int64_t>(c.vision.deepstack_blocks.size()) > c.text.layers) {
    contradiction(where, "there are more deepstack features than text layers to add them to");
  }
  return c;
}

}  // namespace squint::qwen3_vl
