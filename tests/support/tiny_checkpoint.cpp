#include "support/tiny_checkpoint.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <vector>

#include "base/json.h"
#include "base/random.h"
#include "io/safetensors.h"
#include "support/paths.h"

namespace squint::test {
namespace {

constexpr const char* kConfig = R"({
  "architectures": ["Qwen3VLForConditionalGeneration"],
  "model_type": "qwen3_vl",
  "image_token_id": 1010,
  "video_token_id": 1011,
  "tie_word_embeddings": false,
  "text_config": {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
    "head_dim": 16, "intermediate_size": 48, "vocab_size": 1024, "max_position_embeddings": 512,
    "rms_norm_eps": 1e-06, "rope_theta": 5000000, "hidden_act": "silu", "attention_bias": false,
    "eos_token_id": 1000,
    "rope_scaling": {"mrope_interleaved": true, "mrope_section": [4, 2, 2], "rope_type": "default"}
  },
  "vision_config": {
    "hidden_size": 32, "depth": 1, "num_heads": 2, "intermediate_size": 64,
    "num_position_embeddings": 16, "patch_size": 16, "temporal_patch_size": 2,
    "spatial_merge_size": 2, "out_hidden_size": 32, "deepstack_visual_indexes": [0],
    "hidden_act": "gelu_pytorch_tanh", "in_channels": 3
  }
})";

class Filler {
 public:
  explicit Filler(uint64_t seed) : random_(seed) {}

  // Uniform around `center`, as wide as a trained layer of that many inputs.
  Tensor operator()(const Shape& shape, float center) {
    std::vector<bf16> values(static_cast<size_t>(shape.numel()));
    const double width = 1.0 / std::sqrt(static_cast<double>(shape.numel() / shape[0]));
    for (bf16& x : values) {
      x = to_bf16(center + static_cast<float>((2 * random_.uniform() - 1) * width));
    }
    const Tensor out = Tensor::on_host(DType::bf16, shape);
    std::copy(values.begin(), values.end(), out.span<bf16>().begin());
    return out;
  }

 private:
  Random random_;
};

struct Named {
  std::string name;
  Shape shape;
  bool is_norm = false;
};

void append_text(std::vector<Named>& out) {
  const std::string prefix = "model.language_model.";
  out.push_back({"lm_head.weight", {1024, 32}});
  out.push_back({prefix + "embed_tokens.weight", {1024, 32}});
  out.push_back({prefix + "norm.weight", {32}, true});
  for (const char* layer : {"layers.0.", "layers.1."}) {
    const std::string at = prefix + layer;
    out.push_back({at + "input_layernorm.weight", {32}, true});
    out.push_back({at + "post_attention_layernorm.weight", {32}, true});
    out.push_back({at + "self_attn.q_norm.weight", {16}, true});
    out.push_back({at + "self_attn.k_norm.weight", {16}, true});
    out.push_back({at + "self_attn.q_proj.weight", {32, 32}});
    out.push_back({at + "self_attn.k_proj.weight", {16, 32}});
    out.push_back({at + "self_attn.v_proj.weight", {16, 32}});
    out.push_back({at + "self_attn.o_proj.weight", {32, 32}});
    out.push_back({at + "mlp.gate_proj.weight", {48, 32}});
    out.push_back({at + "mlp.up_proj.weight", {48, 32}});
    out.push_back({at + "mlp.down_proj.weight", {32, 48}});
  }
}

void append_vision(std::vector<Named>& out) {
  const auto with_bias = [&](const std::string& module, const Shape& shape, bool is_norm = false) {
    const std::string at = "model.visual." + module;
    out.push_back({at + ".weight", shape, is_norm});
    out.push_back({at + ".bias", {shape[0]}});
  };
  with_bias("patch_embed.proj", {32, 3, 2, 16, 16});
  out.push_back({"model.visual.pos_embed.weight", {16, 32}});
  with_bias("blocks.0.norm1", {32}, true);
  with_bias("blocks.0.norm2", {32}, true);
  with_bias("blocks.0.attn.qkv", {96, 32});
  with_bias("blocks.0.attn.proj", {32, 32});
  with_bias("blocks.0.mlp.linear_fc1", {64, 32});
  with_bias("blocks.0.mlp.linear_fc2", {32, 64});
  with_bias("merger.norm", {32}, true);
  with_bias("merger.linear_fc1", {128, 128});
  with_bias("merger.linear_fc2", {32, 128});
  with_bias("deepstack_merger_list.0.norm", {128}, true);
  with_bias("deepstack_merger_list.0.linear_fc1", {128, 128});
  with_bias("deepstack_merger_list.0.linear_fc2", {32, 128});
}

}  // namespace

void TinyCheckpoint::patch(const std::string& file, std::string_view merge_patch) {
  auto json = parse_ordered_json(files.at(file), file);
  json.merge_patch(parse_ordered_json(merge_patch, "patch"));
  files[file] = json.dump(2);
}

void TinyCheckpoint::write(const std::filesystem::path& folder) const {
  for (const auto& [name, text] : files) write_text(folder / name, text);
  std::vector<io::NamedTensor> list;
  for (const auto& [name, tensor] : tensors) list.push_back({name, tensor});
  io::write_safetensors(folder / "model.safetensors", std::move(list));
}

TinyCheckpoint tiny_checkpoint(uint64_t seed) {
  TinyCheckpoint out;
  out.files["config.json"] = kConfig;
  for (const char* name : {"tokenizer.json", "preprocessor_config.json"}) {
    out.files[name] = read_text(repo_dir() / "models/reader" / name);
  }
  std::vector<Named> list;
  append_text(list);
  append_vision(list);
  Filler fill(seed);
  for (const Named& n : list) out.tensors[n.name] = fill(n.shape, n.is_norm ? 1.0f : 0.0f);
  return out;
}

}  // namespace squint::test
