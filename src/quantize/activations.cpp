#include "quantize/activations.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "io/fingerprint.h"
#include "models/qwen3_vl/answer_tokens.h"

namespace squint::quantize {

using qwen3_vl::ModelInput;

namespace {

// Inputs of rows [begin, end), read in parallel.
std::vector<ModelInput> read_inputs(std::span<const Conversation> rows,
                                    const qwen3_vl::Processor& processor, ThreadPool& threads) {
  std::vector<ModelInput> inputs(rows.size());
  threads.parallel_for(static_cast<int64_t>(rows.size()), 1, [&](int64_t from, int64_t to, int) {
    for (int64_t i = from; i < to; ++i) {
      inputs[static_cast<size_t>(i)] = model_input(rows[static_cast<size_t>(i)], processor);
    }
  });
  return inputs;
}

std::vector<TokenClass> classes_of(std::span<const int32_t> ids, const text::Tokenizer& tokenizer,
                                   int32_t image_token) {
  const auto start = tokenizer.token_id("<|im_start|>");
  const bool chat = start && std::ranges::find(ids, *start) != ids.end();
  std::vector<TokenClass> classes(ids.size(), chat ? TokenClass::prompt : TokenClass::answer);
  if (!chat && !classes.empty())
    classes.back() = TokenClass::prompt;  // Nothing is known to follow.
  for (const qwen3_vl::AnswerToken& answer : qwen3_vl::answer_tokens(ids, tokenizer, image_token)) {
    classes[static_cast<size_t>(answer.index - 1)] = TokenClass::answer;
  }
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] == image_token) classes[i] = TokenClass::image;
  }
  return classes;
}

// Pixels of this many rows are in memory at once.
constexpr size_t kRowsAtOnce = 16;

}  // namespace

CalibrationSize measure(std::span<const Conversation> rows, const qwen3_vl::Processor& processor,
                        ThreadPool& threads, const OnRows& on_rows) {
  CalibrationSize size;
  std::string seen;
  for (size_t at = 0; at < rows.size(); at += kRowsAtOnce) {
    const auto part = rows.subspan(at, std::min(kRowsAtOnce, rows.size() - at));
    const std::vector<ModelInput> inputs = read_inputs(part, processor, threads);
    for (size_t i = 0; i < inputs.size(); ++i) {
      const ModelInput& input = inputs[i];
      if (input.tokens() == 0) {
        size.left_out.push_back(at + i);
        continue;
      }
      ++size.rows;
      size.cut_rows += input.cut ? 1 : 0;
      for (const RowImage& image : part[i].images) {
        if (image.bytes != nullptr) size.held_bytes += static_cast<int64_t>(image.bytes->size());
      }
      size.tokens += input.tokens();
      size.image_tokens += input.image_tokens();
      size.images += static_cast<int64_t>(input.images.size());
      for (const qwen3_vl::Patches& image : input.images) {
        size.most_patches = std::max(size.most_patches, image.values.dim(0));
      }
      seen.append(reinterpret_cast<const char*>(input.ids.data()),
                  input.ids.size() * sizeof(int32_t));
      seen.append(sizeof(int32_t), '\xff');
      for (const qwen3_vl::Patches& image : input.images) {
        seen += io::sha256({image.values.raw(), static_cast<size_t>(image.values.bytes())});
      }
    }
    on_rows(static_cast<int64_t>(part.size()));
  }
  size.input_hash = io::sha256(seen);
  return size;
}

Activations::Activations(Context& cx, std::span<const Conversation> rows,
                         const qwen3_vl::Processor& processor, const qwen3_vl::Weights& weights,
                         const qwen3_vl::Config& config, const OnRows& on_rows, KeptStates keep)
    : config_(config.text) {
  const qwen3_vl::VisionTower vision(weights, config.vision, cx.backend);
  const qwen3_vl::Embedding embedding(weights, config.text);
  const auto kept = [&](const Shape& shape) {
    const int64_t bytes = shape.numel() * byte_size(DType::f32);
    return Tensor(keep.file != nullptr ? keep.file->allocate(bytes) : cx.backend.allocate(bytes), 0,
                  DType::f32, shape);
  };
  const auto finish = [&](Chunk& chunk, const std::vector<qwen3_vl::Position>& positions) {
    const qwen3_vl::RotaryTable rotary = text_rotary(positions, config_);
    chunk.rotary = {kept(rotary.cosine.shape()), kept(rotary.sine.shape())};
    cx.backend.copy(rotary.cosine, chunk.rotary.cosine);
    cx.backend.copy(rotary.sine, chunk.rotary.sine);
    std::vector<int32_t> ids;
    for (const Row& row : chunk.rows) {
      ids.insert(ids.end(), row.input.ids.begin(), row.input.ids.end());
    }
    const Shape shape{static_cast<int64_t>(ids.size()), config_.hidden};
    chunk.hidden = kept(shape);
    embedding.gather(cx, ids, chunk.hidden);
    embedding.give_back();
    for (Row& row : chunk.rows) {
      place_images(cx, row.input, row.features, row.first, chunk.hidden);
      for (qwen3_vl::ImageFeatures& f : row.features) f.embeds = Tensor();
    }
    if (keep.paired) {
      chunk.target = kept(shape);
      cx.backend.copy(chunk.hidden, chunk.target);
    }
    chunks_.push_back(std::move(chunk));
    chunk = Chunk();
  };
  Chunk chunk;
  std::vector<qwen3_vl::Position> positions;  // of its tokens
  for (size_t at = 0; at < rows.size(); at += kRowsAtOnce) {
    const auto part = rows.subspan(at, std::min(kRowsAtOnce, rows.size() - at));
    for (ModelInput& input : read_inputs(part, processor, cx.backend.host_threads())) {
      const auto taken = static_cast<int64_t>(positions.size());
      if (taken > 0 && taken + input.tokens() > kChunkTokens) {
        finish(chunk, std::exchange(positions, {}));
      }
      Row row{.first = static_cast<int64_t>(positions.size())};
      for (const qwen3_vl::Patches& image : input.images) {
        row.features.push_back(vision.encode(cx, image));
        if (keep.file == nullptr) continue;
        for (Tensor& deepstack : row.features.back().deepstack) {
          const Tensor computed = std::exchange(deepstack, kept(deepstack.shape()));
          cx.backend.copy(computed, deepstack);
        }
      }
      input.images.clear();
      positions.insert(positions.end(), input.positions.tokens.begin(),
                       input.positions.tokens.end());
      row.input = std::move(input);
      row.classes = classes_of(row.input.ids, processor.tokenizer(),
                               static_cast<int32_t>(config.image_token_id));
      chunk.rows.push_back(std::move(row));
      on_rows(1);
    }
  }
  finish(chunk, positions);
}

Activations Activations::sample(Context& cx, int64_t tokens) const {
  int64_t all = 0;
  for (const Chunk& chunk : chunks_) all += chunk.hidden.dim(0);
  const auto step = static_cast<size_t>(std::max<int64_t>(1, (all + tokens - 1) / tokens));
  Activations some = *this;
  some.chunks_.clear();
  for (size_t i = 0; i < chunks_.size(); i += step) {
    some.chunks_.push_back(chunks_[i]);
    some.chunks_.back().target = Tensor();
  }
  return some.copy(cx);
}

Activations Activations::copy(Context& cx) const {
  Activations out = *this;
  for (Chunk& chunk : out.chunks_) {
    for (Tensor* tensor : {&chunk.hidden, &chunk.target}) {
      if (tensor->empty()) continue;
      const Tensor shared = *tensor;
      *tensor = Tensor(cx.backend.allocate(shared.bytes()), 0, DType::f32, shared.shape());
      cx.backend.copy(shared, *tensor);
    }
  }
  return out;
}

namespace {

std::vector<TokenClass> classes_of(const Activations::Chunk& chunk) {
  std::vector<TokenClass> classes;
  for (const Activations::Row& row : chunk.rows) {
    classes.insert(classes.end(), row.classes.begin(), row.classes.end());
  }
  return classes;
}

Tensor copy_in_scratch(Context& cx, const Tensor& tensor) {
  const Tensor out = cx.scratch.tensor(tensor.shape());
  cx.backend.copy(tensor, out);
  return out;
}

}  // namespace

Sequences sequences_of(Context& cx, const Activations::Chunk& chunk,
                       const qwen3_vl::TextConfig& config) {
  Sequences s;
  s.caches.reserve(chunk.rows.size());
  for (const Activations::Row& row : chunk.rows) {
    s.caches.push_back(
        ops::make_scratch_kv(cx, config.kv_heads, config.head_dim, row.input.tokens()));
    s.slices.push_back({row.first, row.input.tokens(), &s.caches.back()});
  }
  return s;
}

void Activations::observe(Context& cx, const qwen3_vl::DecoderBlock& block, BlockObserver& observer,
                          const OnRows& on_rows) const {
  Context observed{.backend = cx.backend, .scratch = cx.scratch, .observer = &observer};
  for (const Chunk& chunk : chunks_) {
    const Arena::Scope scope(cx.scratch);
    const Sequences s = sequences_of(cx, chunk, config_);
    block.forward(observed, chunk.rotary.cosine, chunk.rotary.sine, s.slices,
                  copy_in_scratch(cx, chunk.hidden));
    on_rows(static_cast<int64_t>(chunk.rows.size()));
  }
}

void Activations::observe_pairs(Context& cx, const qwen3_vl::DecoderBlock& target,
                                const qwen3_vl::DecoderBlock& block, qwen3_vl::LinearRole role,
                                std::span<PairStatistics> pairs) const {
  for (const Chunk& chunk : chunks_) {
    const Arena::Scope scope(cx.scratch);
    const auto input = [&](const qwen3_vl::DecoderBlock& b, const Tensor& hidden) {
      const Sequences s = sequences_of(cx, chunk, config_);
      return b.input_of(role, cx, chunk.rotary.cosine, chunk.rotary.sine, s.slices,
                        copy_in_scratch(cx, hidden));
    };
    const Tensor x = input(block, chunk.hidden);
    const Tensor x_f = input(target, chunk.target);
    const std::vector<TokenClass> classes = classes_of(chunk);
    for (PairStatistics& pair : pairs) pair.add(cx, x, x_f, classes);
  }
}

void Activations::advance(Context& cx, const qwen3_vl::DecoderBlock& block,
                          const qwen3_vl::DecoderBlock* target, int64_t layer,
                          const OnRows& on_rows) {
  for (Chunk& chunk : chunks_) {
    const auto run = [&](const qwen3_vl::DecoderBlock& b, const Tensor& hidden) {
      const Arena::Scope scope(cx.scratch);
      const Sequences s = sequences_of(cx, chunk, config_);
      b.forward(cx, chunk.rotary.cosine, chunk.rotary.sine, s.slices, hidden);
      for (const Row& row : chunk.rows) {
        add_deepstack(cx, row.input, row.features, layer, row.first, hidden);
      }
    };
    run(block, chunk.hidden);
    if (!chunk.target.empty()) run(*target, chunk.target);
    for (Row& row : chunk.rows) {
      for (qwen3_vl::ImageFeatures& f : row.features) {
        if (layer < static_cast<int64_t>(f.deepstack.size())) {
          f.deepstack[static_cast<size_t>(layer)] = Tensor();  // Used up.
        }
      }
    }
    on_rows(static_cast<int64_t>(chunk.rows.size()));
  }
}

int64_t Activations::kept_bytes(const CalibrationSize& size, const qwen3_vl::Config& config,
                                bool paired) {
  const auto taps = static_cast<int64_t>(config.vision.deepstack_blocks.size());
  const int64_t rows = (paired ? 2 : 1) * size.tokens + taps * size.image_tokens;
  const int64_t rotary = size.tokens * config.text.head_dim;
  return (rows * config.text.hidden + rotary) * byte_size(DType::f32);
}

int64_t Activations::file_bytes(const CalibrationSize& size, const qwen3_vl::Config& config,
                                bool paired) {
  const auto taps = static_cast<int64_t>(config.vision.deepstack_blocks.size());
  const int64_t tensors = (paired ? 4 : 3) * size.rows + taps * size.images;
  return kept_bytes(size, config, paired) + tensors * io::ScratchFile::needed_for(1);
}

}  // namespace squint::quantize
