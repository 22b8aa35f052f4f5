#include "synthetic_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/json.h"
#include "io/checkpoint.h"
#include "squint/error.h"

namespace squint::tools {
namespace {

using qwen3_vl::Config;
using qwen3_vl::TextConfig;
using qwen3_vl::VisionConfig;

constexpr const char* kGenerationConfig = R"({{
  "bos_token_id": {0},
  "pad_token_id": {0},
  "do_sample": true,
  "eos_token_id": [
    {1},
    {0}
  ],
  "top_k": 20,
  "top_p": 0.8,
  "repetition_penalty": 1.0,
  "temperature": 0.7,
  "transformers_version": "4.56.0"
}}
)";

constexpr const char* kPreprocessorConfig = R"({{
  "size": {{
    "longest_edge": {0},
    "shortest_edge": {1}
  }},
  "patch_size": {2},
  "temporal_patch_size": {3},
  "merge_size": {4},
  "image_mean": [
    0.5,
    0.5,
    0.5
  ],
  "image_std": [
    0.5,
    0.5,
    0.5
  ],
  "processor_class": "Qwen3VLProcessor",
  "{5}": "{6}"
}}
)";

TextConfig text_sizes(int64_t hidden, int64_t layers, int64_t heads, int64_t intermediate) {
  return {.hidden = hidden,
          .layers = layers,
          .heads = heads,
          .kv_heads = 8,
          .head_dim = 128,
          .intermediate = intermediate,
          .vocab = 151936,
          .max_positions = 262144,
          .norm_eps = 1e-6f,
          .rope_theta = 5e6,
          .mrope_section = {24, 20, 20}};
}

VisionConfig vision_sizes(bool large) {
  return {.hidden = large ? 1152 : 1024,
          .depth = large ? 27 : 24,
          .heads = 16,
          .intermediate = large ? 4304 : 4096,
          .positions = 2304,
          .patch_size = 16,
          .temporal_patch_size = 2,
          .merge_size = 2,
          .out_hidden = 0,  // adapt()
          .deepstack_blocks =
              large ? std::vector<int64_t>{8, 16, 24} : std::vector<int64_t>{5, 11, 17}};
}

OrderedJson text_json(const TextConfig& t, int64_t bos, int64_t eos) {
  return {
      {"attention_bias", false},
      {"attention_dropout", 0.0},
      {"bos_token_id", bos},
      {"dtype", "bfloat16"},
      {"eos_token_id", eos},
      {"head_dim", t.head_dim},
      {"hidden_act", "silu"},
      {"hidden_size", t.hidden},
      {"initializer_range", 0.02},
      {"intermediate_size", t.intermediate},
      {"max_position_embeddings", t.max_positions},
      {"model_type", "qwen3_vl_text"},
      {"num_attention_heads", t.heads},
      {"num_hidden_layers", t.layers},
      {"num_key_value_heads", t.kv_heads},
      {"rms_norm_eps", 1e-6},
      {"rope_scaling",
       {{"mrope_interleaved", true}, {"mrope_section", t.mrope_section}, {"rope_type", "default"}}},
      {"rope_theta", std::llround(t.rope_theta)},
      {"use_cache", true},
      {"vocab_size", t.vocab}};
}

OrderedJson vision_json(const VisionConfig& v) {
  return {{"deepstack_visual_indexes", v.deepstack_blocks},
          {"depth", v.depth},
          {"hidden_act", "gelu_pytorch_tanh"},
          {"hidden_size", v.hidden},
          {"in_channels", 3},
          {"initializer_range", 0.02},
          {"intermediate_size", v.intermediate},
          {"model_type", "qwen3_vl"},
          {"num_heads", v.heads},
          {"num_position_embeddings", v.positions},
          {"out_hidden_size", v.out_hidden},
          {"patch_size", v.patch_size},
          {"spatial_merge_size", v.merge_size},
          {"temporal_patch_size", v.temporal_patch_size}};
}

// Collects the tensors of a model. Spreads and gains are those of trained layers: what a block adds
// is a fifth of what it reads.
class TensorList {
 public:
  void gains(const std::string& name, int64_t size, std::string outliers = {}) {
    list_.push_back({.name = name,
                     .shape = {size},
                     .gains = true,
                     .row_spread = 0.3f,
                     .row_outliers = std::move(outliers)});
  }
  void plain(const std::string& name, const Shape& shape, float scale) {
    list_.push_back({.name = name, .shape = shape, .scale = scale});
  }
  TensorPlan& linear(const std::string& module, const Shape& shape, float gain = 1) {
    const auto inputs = static_cast<float>(shape.numel() / shape[0]);
    list_.push_back({.name = module + ".weight",
                     .shape = shape,
                     .scale = gain / std::sqrt(inputs),
                     .row_spread = 0.175f,
                     .column_spread = 0.35f});
    return list_.back();
  }
  void linear_and_bias(const std::string& module, const Shape& shape, float gain = 1) {
    linear(module, shape, gain);
    bias(module, shape[0]);
  }
  void norm_and_bias(const std::string& module, int64_t size) {
    gains(module + ".weight", size);
    bias(module, size);
  }
  std::vector<TensorPlan> take() { return std::move(list_); }

 private:
  void bias(const std::string& module, int64_t size) {
    list_.push_back({.name = module + ".bias", .shape = {size}, .scale = 0.02f});
  }

  std::vector<TensorPlan> list_;
};

void add_text_layer(TensorList& list, const TextConfig& t, int64_t layer) {
  const std::string at = fmt::format("model.language_model.layers.{}.", layer);
  const std::string attention = at + "input_layernorm.weight";
  const std::string mlp = at + "post_attention_layernorm.weight";
  const std::string up = at + "mlp.up_proj";
  const int64_t q = t.heads * t.head_dim;
  const int64_t kv = t.kv_heads * t.head_dim;
  list.gains(attention, t.hidden, attention);
  list.gains(mlp, t.hidden, mlp);
  list.linear(at + "self_attn.q_proj", {q, t.hidden}).column_outliers = attention;
  list.linear(at + "self_attn.k_proj", {kv, t.hidden}).column_outliers = attention;
  list.linear(at + "self_attn.v_proj", {kv, t.hidden}).column_outliers = attention;
  list.linear(at + "self_attn.o_proj", {t.hidden, q}, 0.2f);
  list.gains(at + "self_attn.q_norm.weight", t.head_dim);
  list.gains(at + "self_attn.k_norm.weight", t.head_dim);
  list.linear(at + "mlp.gate_proj", {t.intermediate, t.hidden}).column_outliers = mlp;
  TensorPlan& rows = list.linear(up, {t.intermediate, t.hidden});
  rows.column_outliers = mlp;
  rows.row_outliers = up;
  list.linear(at + "mlp.down_proj", {t.hidden, t.intermediate}, 0.2f).column_outliers = up;
}

void add_merger(TensorList& list, const VisionConfig& v, const std::string& at, int64_t norm) {
  list.norm_and_bias(at + "norm", norm);
  list.linear_and_bias(at + "linear_fc1", {v.merged_hidden(), v.merged_hidden()});
  list.linear_and_bias(at + "linear_fc2", {v.out_hidden, v.merged_hidden()}, 0.3f);
}

void add_vision(TensorList& list, const VisionConfig& v) {
  const std::string at = "model.visual.";
  list.linear_and_bias(at + "patch_embed.proj",
                       {v.hidden, 3, v.temporal_patch_size, v.patch_size, v.patch_size});
  list.plain(at + "pos_embed.weight", {v.positions, v.hidden}, 0.02f);
  for (int64_t i = 0; i < v.depth; ++i) {
    const std::string block = fmt::format("{}blocks.{}.", at, i);
    list.norm_and_bias(block + "norm1", v.hidden);
    list.norm_and_bias(block + "norm2", v.hidden);
    list.linear_and_bias(block + "attn.qkv", {3 * v.hidden, v.hidden});
    list.linear_and_bias(block + "attn.proj", {v.hidden, v.hidden}, 0.2f);
    list.linear_and_bias(block + "mlp.linear_fc1", {v.intermediate, v.hidden});
    list.linear_and_bias(block + "mlp.linear_fc2", {v.hidden, v.intermediate}, 0.2f);
  }
  add_merger(list, v, at + "merger.", v.hidden);
  for (size_t i = 0; i < v.deepstack_blocks.size(); ++i) {
    add_merger(list, v, fmt::format("{}deepstack_merger_list.{}.", at, i), v.merged_hidden());
  }
}

}  // namespace

const std::map<std::string, Config>& presets() {
  static const std::map<std::string, Config> all = {
      {"2b", {text_sizes(2048, 28, 16, 6144), vision_sizes(false), 0, 0, {}, true}},
      {"4b", {text_sizes(2560, 36, 32, 9728), vision_sizes(false), 0, 0, {}, true}},
      {"8b", {text_sizes(4096, 36, 32, 12288), vision_sizes(true), 0, 0, {}, false}},
      {"32b", {text_sizes(5120, 64, 64, 25600), vision_sizes(true), 0, 0, {}, false}}};
  return all;
}

void adapt(Config& config) {
  TextConfig& t = config.text;
  VisionConfig& v = config.vision;
  v.out_hidden = t.hidden;
  // 24, 20, 20 of the published 64 frequencies.
  const int64_t frequencies = t.head_dim / 2;
  const int64_t side = frequencies * 20 / 64;
  t.mrope_section = {frequencies - 2 * side, side, side};
  // A tap sits inside the tower, and each feature needs a text layer to go to.
  std::vector<int64_t>& taps = v.deepstack_blocks;
  for (int64_t& tap : taps) tap = std::min(tap, v.depth - 1);
  const auto last = std::unique(taps.begin(), taps.end());
  taps.erase(last, taps.end());
  taps.resize(std::min(taps.size(), static_cast<size_t>(t.layers)));
}

std::map<std::string, std::string> model_files(const Config& config,
                                               const text::Tokenizer& tokenizer) {
  if (config.text.vocab < tokenizer.size()) {
    throw Error(ErrorCode::bad_input,
                fmt::format("a vocabulary of {} is too small for the tokenizer, whose ids reach {}",
                            config.text.vocab, tokenizer.size() - 1));
  }
  const auto id = [&](const char* token) {
    if (const auto found = tokenizer.token_id(token)) return int64_t{*found};
    throw Error(ErrorCode::bad_input,
                fmt::format("the tokenizer has no token {}; is it one of Qwen3-VL?", token));
  };
  const int64_t bos = id("<|endoftext|>");
  const int64_t eos = id("<|im_end|>");
  const OrderedJson json = {{"architectures", {"Qwen3VLForConditionalGeneration"}},
                            {"image_token_id", id("<|image_pad|>")},
                            {"model_type", "qwen3_vl"},
                            {"text_config", text_json(config.text, bos, eos)},
                            {"tie_word_embeddings", config.tied_head},
                            {"transformers_version", "4.57.0.dev0"},
                            {"video_token_id", id("<|video_pad|>")},
                            {"vision_config", vision_json(config.vision)},
                            {"vision_end_token_id", id("<|vision_end|>")},
                            {"vision_start_token_id", id("<|vision_start|>")}};
  const std::string text = json.dump(4) + "\n";
  qwen3_vl::parse_config(parse_json(text, io::kConfigFileName), io::kConfigFileName);
  const VisionConfig& v = config.vision;
  const auto preprocessor = [&](int64_t longest, int64_t shortest, const char* key,
                                const char* type) {
    return fmt::format(kPreprocessorConfig, longest, shortest, v.patch_size, v.temporal_patch_size,
                       v.merge_size, key, type);
  };
  return {{io::kConfigFileName, text},
          {"generation_config.json", fmt::format(kGenerationConfig, bos, eos)},
          {"preprocessor_config.json",
           preprocessor(16777216, 65536, "image_processor_type", "Qwen2VLImageProcessorFast")},
          {"video_preprocessor_config.json",
           preprocessor(25165824, 4096, "video_processor_type", "Qwen3VLVideoProcessor")}};
}

std::vector<TensorPlan> tensors(const Config& config) {
  const TextConfig& t = config.text;
  TensorList list;
  list.plain("model.language_model.embed_tokens.weight", {t.vocab, t.hidden}, 0.03f);
  for (int64_t layer = 0; layer < t.layers; ++layer) add_text_layer(list, t, layer);
  list.gains("model.language_model.norm.weight", t.hidden);
  if (!config.tied_head) list.linear("lm_head", {t.vocab, t.hidden});
  add_vision(list, config.vision);
  return list.take();
}

}  // namespace squint::tools
