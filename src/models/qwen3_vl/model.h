// model.h: Qwen3-VL from token ids and patches to logits (spec qwen3-vl.md §0).
#pragma once

#include <memory>
#include <span>
#include <variant>
#include <vector>

#include "models/kv_cache.h"
#include "models/qwen3_vl/decoder_block.h"
#include "models/qwen3_vl/processor.h"
#include "models/qwen3_vl/vision_tower.h"

namespace squint::qwen3_vl {

// Modules by vocabulary.
inline constexpr const char* kEmbedding = "model.language_model.embed_tokens";
inline constexpr const char* kHead = "lm_head";
inline constexpr const char* kFinalNormName = "model.language_model.norm.weight";

// Every linear layer outside the decoder blocks, in the order the reference lists them: vision
// blocks, merger, deepstack mergers, head (spec awq-w4a16.md §4.3).
std::vector<std::string> other_linears(const Config& config);

// Token embeddings. The table stays where the checkpoint mapped it, packed or not: rows are
// gathered, never copied as a whole.
class Embedding {
 public:
  Embedding(const Weights& weights, const TextConfig& config);

  // Into hidden [ids, hidden].
  void gather(Context& cx, std::span<const int32_t> ids, const Tensor& hidden) const;
  // After that, when nothing waits for it: what was read stays in the kernel's cache of the file.
  void give_back() const;

 private:
  std::variant<Tensor, PackedLinear> table_;  // [vocab, hidden]
};

// Of the vocabulary projection: a stored one always wins; the embedding stands in where the
// checkpoint has none (spec §1.5). Not prepared.
LinearWeight head_weight(const Weights& weights, const Config& config);

// Final norm and vocabulary projection.
class OutputHead {
 public:
  OutputHead(const Weights& weights, const Config& config, Backend& backend);

  // hidden [tokens, hidden] → logits [tokens, vocab], in scratch.
  Tensor logits(Context& cx, const Tensor& hidden) const;

 private:
  TextConfig config_;
  Tensor norm_;
  LinearWeight head_;
};

// Image embeddings over their placeholders: hidden rows of input's runs, `first_row` being the row
// of its first token.
void place_images(Context& cx, const ModelInput& input, std::span<const ImageFeatures> features,
                  int64_t first_row, const Tensor& hidden);
// After layer `layer`, the deepstack features that belong to it; nothing for later layers.
void add_deepstack(Context& cx, const ModelInput& input, std::span<const ImageFeatures> features,
                   int64_t layer, int64_t first_row, const Tensor& hidden);

// Rotary tables on the backend's device, in scratch.
RotaryTable device_rotary(Context& cx, std::span<const Position> positions,
                          const TextConfig& config);

// One sequence of a batch.
struct Prompt {
  const ModelInput* input = nullptr;
  std::span<const ImageFeatures> features;  // one per image
  KvCache* cache = nullptr;                 // extended by the prompt
};

struct NextToken {
  int32_t id = 0;
  int64_t position = 0;
  KvCache* cache = nullptr;
};

class Model {
 public:
  // Everything is loaded, checked and prepared; the checkpoint stays mapped for the embedding.
  // Pages of what has been prepared are given back as it goes.
  Model(const io::Checkpoint& checkpoint, Backend& backend);

  const Config& config() const { return config_; }
  const Processor& processor() const { return processor_; }

  KvCache make_cache(Context& cx, int64_t capacity) const;
  ImageFeatures encode_image(Context& cx, const Patches& image) const {
    return vision_.encode(cx, image);
  }
  std::vector<ImageFeatures> encode_images(Context& cx, const ModelInput& input) const;
  // Hidden states of all prompts' tokens, one prompt after the other, in scratch.
  Tensor prefill(Context& cx, std::span<const Prompt> prompts) const;
  // One more token for each sequence.
  Tensor step(Context& cx, std::span<const NextToken> tokens) const;
  // Several tokens of one sequence, which follow each other: hidden states of each, in scratch.
  Tensor extend(Context& cx, std::span<const int32_t> ids, const NextToken& first) const;
  Tensor logits(Context& cx, const Tensor& hidden) const { return head_.logits(cx, hidden); }

 private:
  Model(const io::Checkpoint& checkpoint, const Weights& weights, Backend& backend);

  Config config_;
  Processor processor_;
  VisionTower vision_;
  Embedding embedding_;
  std::vector<DecoderBlock> blocks_;
  OutputHead head_;
};

}  // namespace squint::qwen3_vl
