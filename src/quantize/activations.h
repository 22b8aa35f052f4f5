// activations.h: the hidden states of all calibration rows between two layers.
//
// Rows are packed without padding into chunks of about kChunkTokens tokens, which run through a
// layer one after the other: the memory of a layer's inner values is that of one chunk.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "io/scratch_file.h"
#include "models/qwen3_vl/model.h"
#include "ops/context.h"
#include "quantize/calibration.h"
#include "quantize/pair_statistics.h"
#include "quantize/statistics.h"
#include "quantize/token_class.h"

namespace squint::quantize {

inline constexpr int64_t kChunkTokens = 1024;

// What is known of a set of rows before any of it is computed. Reads every image once, so that a
// bad one stops the run before it starts.
struct CalibrationSize {
  int64_t rows = 0;
  int64_t tokens = 0;
  int64_t image_tokens = 0;
  int64_t images = 0;
  int64_t most_patches = 0;      // of an image
  int64_t held_bytes = 0;        // of images that rows hold themselves
  int64_t cut_rows = 0;          // whose end max_tokens left out
  std::vector<size_t> left_out;  // rows without tokens; not counted above
  // sha256 over what the model will see of each row: token ids as little-endian int32, 0xFFFFFFFF,
  // the sha256 of every image's patches.
  std::string input_hash;
};

// Called with the number of rows that have just been done; may throw to stop.
using OnRows = std::function<void(int64_t rows)>;

CalibrationSize measure(std::span<const Conversation> rows, const qwen3_vl::Processor& processor,
                        ThreadPool& threads, const OnRows& on_rows);

struct KeptStates {
  bool paired = false;              // also what the unquantized model makes of the rows
  io::ScratchFile* file = nullptr;  // instead of memory; only where the backend's is the host's
};

class Activations {
 public:
  // Embeds and encodes all rows.
  Activations(Context& cx, std::span<const Conversation> rows, const qwen3_vl::Processor& processor,
              const qwen3_vl::Weights& weights, const qwen3_vl::Config& config,
              const OnRows& on_rows, KeptStates keep = {});

  // The same rows once more, to be advanced by another model; in memory. Image features are shared.
  Activations copy(Context& cx) const;
  // The same of some chunks, evenly spread, with at most `tokens` tokens, but at least one chunk;
  // not paired.
  Activations sample(Context& cx, int64_t tokens) const;

  // Runs a layer over all chunks and throws the result away; `observer` sees the inputs of its
  // linear layers.
  void observe(Context& cx, const qwen3_vl::DecoderBlock& block, BlockObserver& observer,
               const OnRows& on_rows) const;
  // Inputs of `role` in `block` on these rows beside those in `target` on what the unquantized
  // model makes of them, each token counted by its class: once for each of `pairs`. Only where
  // paired.
  void observe_pairs(Context& cx, const qwen3_vl::DecoderBlock& target,
                     const qwen3_vl::DecoderBlock& block, qwen3_vl::LinearRole role,
                     std::span<PairStatistics> pairs) const;
  // Runs a layer over all chunks, whose result is the next layer's input; where paired, `target`
  // over what the unquantized model made of them.
  void advance(Context& cx, const qwen3_vl::DecoderBlock& block,
               const qwen3_vl::DecoderBlock* target, int64_t layer, const OnRows& on_rows);

  struct Row {
    qwen3_vl::ModelInput input;  // without pixels
    std::vector<qwen3_vl::ImageFeatures> features;
    int64_t first = 0;                // row of the chunk's hidden states
    std::vector<TokenClass> classes;  // of each token
  };
  struct Chunk {
    Tensor hidden;                 // [tokens, hidden], kept
    Tensor target;                 // the same in the unquantized model, or empty
    qwen3_vl::RotaryTable rotary;  // of its tokens, kept
    std::vector<Row> rows;
  };
  const std::vector<Chunk>& chunks() const { return chunks_; }

  // Of all that is kept, in memory or in a file.
  static int64_t kept_bytes(const CalibrationSize& size, const qwen3_vl::Config& config,
                            bool paired);
  // What a file must hold for it.
  static int64_t file_bytes(const CalibrationSize& size, const qwen3_vl::Config& config,
                            bool paired);

 private:
  qwen3_vl::TextConfig config_;
  std::vector<Chunk> chunks_;
};

// A chunk's rows as sequences of their own, each with an empty cache; in scratch.
struct Sequences {
  std::vector<KvLayer> caches;
  std::vector<KvSlice> slices;
};
Sequences sequences_of(Context& cx, const Activations::Chunk& chunk,
                       const qwen3_vl::TextConfig& config);

}  // namespace squint::quantize
