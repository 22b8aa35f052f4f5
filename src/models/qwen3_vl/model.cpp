#include "models/qwen3_vl/model.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "base/check.h"
#include "io/mapped_file.h"
#include "ops/host_work.h"

namespace squint::qwen3_vl {
namespace {

Config config_of(const io::Checkpoint& checkpoint) {
  return parse_config(checkpoint.config(), (checkpoint.folder() / io::kConfigFileName).string());
}

}  // namespace

std::vector<std::string> other_linears(const Config& config) {
  std::vector<std::string> names;
  for (int64_t block = 0; block < config.vision.depth; ++block) {
    for (const char* layer : {"attn.qkv", "attn.proj", "mlp.linear_fc1", "mlp.linear_fc2"}) {
      names.push_back(fmt::format("model.visual.blocks.{}.{}", block, layer));
    }
  }
  std::vector<std::string> mergers = {"model.visual.merger"};
  for (size_t j = 0; j < config.vision.deepstack_blocks.size(); ++j) {
    mergers.push_back(fmt::format("model.visual.deepstack_merger_list.{}", j));
  }
  for (const std::string& merger : mergers) {
    names.push_back(merger + ".linear_fc1");
    names.push_back(merger + ".linear_fc2");
  }
  names.emplace_back(kHead);
  return names;
}

Embedding::Embedding(const Weights& weights, const TextConfig& config) {
  LinearWeight stored = weights.linear(kEmbedding, config.vocab, config.hidden);
  if (auto* packed = std::get_if<PackedLinear>(&stored.weight)) {
    table_ = std::move(*packed);
  } else {
    table_ = std::get<Tensor>(stored.weight);
  }
  // The check for finite values has read all of it.
  weights.checkpoint().give_back(kEmbedding);
}

void Embedding::gather(Context& cx, std::span<const int32_t> ids, const Tensor& hidden) const {
  const auto* packed = std::get_if<PackedLinear>(&table_);
  const int64_t rows = packed != nullptr ? packed->rows : std::get<Tensor>(table_).dim(0);
  SQUINT_CHECK(static_cast<int64_t>(ids.size()) == hidden.dim(0));
  SQUINT_CHECK(packed != nullptr || std::get<Tensor>(table_).dim(1) == hidden.dim(1));
  // To a card many rows go as they are stored, half the bytes.
  constexpr int64_t kMany = 64;
  const bool as_stored = packed == nullptr && std::get<Tensor>(table_).dtype() == DType::bf16 &&
                         cx.backend.device().kind != DeviceKind::cpu && hidden.dim(0) >= kMany;
  const HostWork work(cx.backend);
  const Tensor host = work.tensor(as_stored ? DType::bf16 : DType::f32, hidden.shape());
  constexpr int64_t kGrain = 16;  // a single token is not worth waking anybody
  work.each(hidden.dim(0), kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t at = begin; at < end; ++at) {
      const int32_t id = ids[static_cast<size_t>(at)];
      SQUINT_CHECK(id >= 0 && id < rows);
      const Tensor to = host.rows(at, 1);
      if (packed != nullptr) {
        dequantize_row(*packed, id, to.span<float>());
        continue;
      }
      const Tensor row = std::get<Tensor>(table_).rows(id, 1);
      if (as_stored) {
        std::ranges::copy(row.span<const bf16>(), to.span<bf16>().begin());
      } else {
        to_f32(row, to.span<float>());
      }
    }
  });
  if (!as_stored) return cx.backend.copy(host, hidden);
  const Arena::Scope scope(cx.scratch);
  const Tensor narrow = cx.scratch.tensor(hidden.shape(), DType::bf16);
  cx.backend.copy(host, narrow);
  ops::scale_weight(cx, narrow, {}, {}, hidden);
}

// Around a row that is read the kernel maps its neighbours: with the rows of a long prompt, soon
// the whole table.
void Embedding::give_back() const {
  const auto* packed = std::get_if<PackedLinear>(&table_);
  io::advise(packed != nullptr ? packed->packed : std::get<Tensor>(table_), io::PageUse::done);
}

LinearWeight head_weight(const Weights& weights, const Config& config) {
  const bool stored = weights.checkpoint().find(std::string(kHead) + ".weight") != nullptr ||
                      weights.checkpoint().find(std::string(kHead) + ".weight_packed") != nullptr;
  LinearWeight head = weights.linear(stored || !config.tied_head ? kHead : kEmbedding,
                                     config.text.vocab, config.text.hidden);
  head.eight_bits_do = true;
  return head;
}

OutputHead::OutputHead(const Weights& weights, const Config& config, Backend& backend)
    : config_(config.text),
      norm_(weights.vector(backend, kFinalNormName, config.text.hidden)),
      head_(backend.prepare(head_weight(weights, config))) {
  for (const char* module : {kHead, kEmbedding}) weights.checkpoint().give_back(module);
}

Tensor OutputHead::logits(Context& cx, const Tensor& hidden) const {
  Tensor out = cx.scratch.tensor({hidden.dim(0), config_.vocab});
  if (ops::has_fused(cx)) {
    ops::norm_linears(cx, hidden, norm_, config_.norm_eps, std::array{&head_}, std::array{out});
    return out;
  }
  const Tensor normed = cx.scratch.tensor(hidden.shape());
  ops::rms_norm(cx, hidden, norm_, config_.norm_eps, normed);
  cx.show("text.norm", 0, normed);
  ops::linear(cx, normed, head_, out);
  cx.show("logits", 0, out);
  return out;
}

void place_images(Context& cx, const ModelInput& input, std::span<const ImageFeatures> features,
                  int64_t first_row, const Tensor& hidden) {
  SQUINT_CHECK(features.size() == input.runs.size());
  for (size_t i = 0; i < features.size(); ++i) {
    const ImageRun& run = input.runs[i];
    cx.backend.copy(features[i].embeds, hidden.rows(first_row + run.begin, run.tokens));
  }
}

void add_deepstack(Context& cx, const ModelInput& input, std::span<const ImageFeatures> features,
                   int64_t layer, int64_t first_row, const Tensor& hidden) {
  for (size_t i = 0; i < features.size(); ++i) {
    if (layer >= static_cast<int64_t>(features[i].deepstack.size())) continue;
    const ImageRun& run = input.runs[i];
    ops::add(cx, features[i].deepstack[static_cast<size_t>(layer)],
             hidden.rows(first_row + run.begin, run.tokens));
  }
}

RotaryTable device_rotary(Context& cx, std::span<const Position> positions,
                          const TextConfig& config) {
  const RotaryTable host = text_rotary(positions, config, HostWork(cx.backend));
  RotaryTable out{cx.scratch.tensor(host.cosine.shape()), cx.scratch.tensor(host.sine.shape())};
  cx.backend.copy(host.cosine, out.cosine);
  cx.backend.copy(host.sine, out.sine);
  return out;
}

Model::Model(const io::Checkpoint& checkpoint, Backend& backend)
    : Model(checkpoint, Weights(checkpoint), backend) {}

Model::Model(const io::Checkpoint& checkpoint, const Weights& weights, Backend& backend)
    : config_(config_of(checkpoint)),
      processor_(checkpoint, config_),
      vision_(weights, config_.vision, backend),
      embedding_(weights, config_.text),
      head_(weights, config_, backend) {
  for (int64_t layer = 0; layer < config_.text.layers; ++layer) {
    blocks_.emplace_back(DecoderBlockWeights::load(weights, config_.text, layer), config_.text,
                         layer, backend);
    checkpoint.give_back(fmt::format("model.language_model.layers.{}.", layer));
  }
}

KvCache Model::make_cache(Context& cx, int64_t capacity) const {
  KvCache cache;
  for (int64_t layer = 0; layer < config_.text.layers; ++layer) {
    cache.layers.push_back(
        ops::make_kv(cx, config_.text.kv_heads, config_.text.head_dim, capacity));
  }
  return cache;
}

std::vector<ImageFeatures> Model::encode_images(Context& cx, const ModelInput& input) const {
  std::vector<ImageFeatures> features;
  for (const Patches& image : input.images) features.push_back(encode_image(cx, image));
  return features;
}

Tensor Model::prefill(Context& cx, std::span<const Prompt> prompts) const {
  std::vector<int32_t> ids;
  std::vector<Position> positions;
  std::vector<int64_t> first_rows;
  for (const Prompt& prompt : prompts) {
    first_rows.push_back(static_cast<int64_t>(ids.size()));
    const ModelInput& input = *prompt.input;
    ids.insert(ids.end(), input.ids.begin(), input.ids.end());
    positions.insert(positions.end(), input.positions.tokens.begin(), input.positions.tokens.end());
  }
  Tensor hidden = cx.scratch.tensor({static_cast<int64_t>(ids.size()), config_.text.hidden});
  embedding_.gather(cx, ids, hidden);
  for (size_t i = 0; i < prompts.size(); ++i) {
    place_images(cx, *prompts[i].input, prompts[i].features, first_rows[i], hidden);
  }
  const RotaryTable rotary = device_rotary(cx, positions, config_.text);
  std::vector<KvSlice> slices(prompts.size());
  for (size_t layer = 0; layer < blocks_.size(); ++layer) {
    cx.between();
    for (size_t i = 0; i < prompts.size(); ++i) {
      slices[i] = {first_rows[i], prompts[i].input->tokens(), &prompts[i].cache->layers[layer]};
    }
    blocks_[layer].forward(cx, rotary.cosine, rotary.sine, slices, hidden);
    for (size_t i = 0; i < prompts.size(); ++i) {
      add_deepstack(cx, *prompts[i].input, prompts[i].features, static_cast<int64_t>(layer),
                    first_rows[i], hidden);
    }
  }
  embedding_.give_back();
  return hidden;
}

Tensor Model::extend(Context& cx, std::span<const int32_t> ids, const NextToken& first) const {
  std::vector<Position> positions;
  for (int64_t at = first.position; at < first.position + std::ssize(ids); ++at) {
    positions.push_back({at, at, at});
  }
  Tensor hidden = cx.scratch.tensor({std::ssize(ids), config_.text.hidden});
  embedding_.gather(cx, ids, hidden);
  const RotaryTable rotary = device_rotary(cx, positions, config_.text);
  for (size_t layer = 0; layer < blocks_.size(); ++layer) {
    const KvSlice slice{0, std::ssize(ids), &first.cache->layers[layer]};
    blocks_[layer].forward(cx, rotary.cosine, rotary.sine, {&slice, 1}, hidden);
  }
  return hidden;
}

Tensor Model::step(Context& cx, std::span<const NextToken> tokens) const {
  std::vector<int32_t> ids;
  std::vector<Position> positions;
  for (const NextToken& token : tokens) {
    ids.push_back(token.id);
    positions.push_back({token.position, token.position, token.position});
  }
  Tensor hidden = cx.scratch.tensor({static_cast<int64_t>(ids.size()), config_.text.hidden});
  embedding_.gather(cx, ids, hidden);
  const RotaryTable rotary = device_rotary(cx, positions, config_.text);
  std::vector<KvLayer*> caches;
  for (size_t layer = 0; layer < blocks_.size(); ++layer) {
    for (const NextToken& token : tokens) caches.push_back(&token.cache->layers[layer]);
  }
  const std::array tensors{hidden, rotary.cosine, rotary.sine};
  const RepeatedStep step{.whose = this,
                          .tensors = tensors,
                          .caches = caches,
                          .sequences = static_cast<int64_t>(tokens.size())};
  ops::repeat(cx, step, [&] {
    std::vector<KvSlice> slices(tokens.size());
    for (size_t layer = 0; layer < blocks_.size(); ++layer) {
      for (size_t i = 0; i < tokens.size(); ++i) {
        slices[i] = {static_cast<int64_t>(i), 1, &tokens[i].cache->layers[layer]};
      }
      blocks_[layer].forward(cx, rotary.cosine, rotary.sine, slices, hidden);
    }
  });
  // Not each time: a token reads one row.
  constexpr int64_t kTokensBetween = 64;
  if (!tokens.empty() && tokens.front().position % kTokensBetween == 0) embedding_.give_back();
  return hidden;
}

}  // namespace squint::qwen3_vl
