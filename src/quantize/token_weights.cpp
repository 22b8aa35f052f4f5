#include "quantize/token_weights.h"

#include <algorithm>
#include <cmath>

#include "base/random.h"
#include "models/qwen3_vl/decoder_gradient.h"
#include "ops/copies.h"
#include "ops/ops.h"
#include "quantize/predictions.h"

namespace squint::quantize {

using qwen3_vl::DecoderBlock;
using qwen3_vl::DecoderBlockGradient;
using qwen3_vl::DecoderBlockWeights;
using qwen3_vl::LinearRole;

namespace {

// logits become random numbers v, a row for each, with E[v vᵀ] = diag(p) - p pᵀ, p being the
// softmax of the row. That is the Fisher information of an answer drawn from p: v = dln
// p(y)/d(logits) with a drawn y has it too, but where p is nearly sure of itself, y hardly ever
// shows what else there is. With ξ = ±1, v = √p ξ - p Σ √p ξ does so at once.
void draw(const Tensor& logits, Random& random) {
  for (int64_t t = 0; t < logits.dim(0); ++t) {
    const std::span<float> row = logits.rows(t, 1).span<float>();
    const float largest = std::ranges::max(row);
    double total = 0;
    for (float& x : row) total += x = std::exp(x - largest);
    double sum = 0;
    std::vector<double> signed_roots;
    for (const float x : row) {
      const double root = std::sqrt(x / total);
      signed_roots.push_back((random.next() >> 63) != 0 ? root : -root);
      sum += signed_roots.back();
    }
    for (size_t v = 0; v < row.size(); ++v) {
      row[v] = static_cast<float>(signed_roots[v] - row[v] / total * sum);
    }
  }
}

// Sums of squared gradients of one layer, by role and class.
class SquareSums {
 public:
  void add(Context& cx, LinearRole role, const Tensor& d_output, const Activations::Chunk& chunk) {
    const Tensor host = on_host(cx, d_output);
    std::vector<double> sums(static_cast<size_t>(host.dim(0)));
    cx.backend.host_threads().parallel_for(host.dim(0), 8, [&](int64_t begin, int64_t end, int) {
      for (int64_t t = begin; t < end; ++t) {
        double sum = 0;
        for (const float g : host.rows(t, 1).span<const float>()) sum += double{g} * g;
        sums[static_cast<size_t>(t)] = sum;
      }
    });
    for (const Activations::Row& row : chunk.rows) {
      for (size_t i = 0; i < row.classes.size(); ++i) {
        const auto c = static_cast<size_t>(row.classes[i]);
        sums_[static_cast<size_t>(role)][c] += sums[static_cast<size_t>(row.first) + i];
      }
    }
  }

  // Means over `counts` tokens of each class.
  TokenWeights::Layer weights(const std::array<int64_t, kTokenClasses>& counts) const {
    TokenWeights::Layer out = sums_;
    for (ClassWeights& w : out) {
      for (size_t c = 0; c < kTokenClasses; ++c) {
        w[c] /= static_cast<double>(std::max<int64_t>(counts[c], 1));
      }
      const double largest = std::ranges::max(w);
      for (double& x : w) x = largest > 0 ? std::max(x / largest, kLeastTokenWeight) : 1;
    }
    return out;
  }

 private:
  TokenWeights::Layer sums_{};
};

// The way up leaves every layer's input behind, the way down uses it.
class GradientPass {
 public:
  GradientPass(Context& cx, Activations rows, const qwen3_vl::Weights& weights,
               const qwen3_vl::Config& config, const OnPart& on_part)
      : cx_(cx), rows_(std::move(rows)), weights_(weights), config_(config), on_part_(on_part) {
    for (const Activations::Chunk& chunk : rows_.chunks()) {
      total_ += 2 * config.text.layers * static_cast<int64_t>(chunk.rows.size());
      for (const Activations::Row& row : chunk.rows) {
        for (const TokenClass c : row.classes) ++counts_[static_cast<size_t>(c)];
      }
    }
  }

  std::optional<TokenWeights> run() {
    if (counts_[static_cast<size_t>(TokenClass::answer)] == 0) return std::nullopt;
    const int64_t layers = config_.text.layers;
    for (int64_t layer = 0; layer < layers; ++layer) {
      auto& inputs = inputs_.emplace_back();
      for (const Activations::Chunk& chunk : rows_.chunks()) {
        inputs.push_back(copy_to_device(cx_, chunk.hidden));
      }
      const DecoderBlock block(DecoderBlockWeights::load(weights_, config_.text, layer),
                               config_.text, layer, cx_.backend);
      rows_.advance(cx_, block, nullptr, layer, [this](int64_t rows) { report(rows); });
    }
    start_from_the_answers();
    TokenWeights out(layers, {1, 1, 1});
    for (int64_t layer = layers; layer-- > 0;) go_down(layer, out);
    return out;
  }

 private:
  void report(int64_t rows) { on_part_(done_ += rows, total_); }

  void start_from_the_answers() {
    const qwen3_vl::OutputHead head(weights_, config_, cx_.backend);
    Random random(0);
    for (const Activations::Chunk& chunk : rows_.chunks()) {
      gradients_.push_back(zeros_on_device(cx_.backend, chunk.hidden.shape()));
      std::vector<int64_t> answers;
      for (const Activations::Row& row : chunk.rows) {
        for (size_t i = 0; i < row.classes.size(); ++i) {
          if (row.classes[i] == TokenClass::answer) {
            answers.push_back(row.first + static_cast<int64_t>(i));
          }
        }
      }
      for (size_t at = 0; at < answers.size(); at += kLogitTokens) {
        const auto part = std::span(answers).subspan(
            at, std::min(answers.size() - at, static_cast<size_t>(kLogitTokens)));
        start(head, chunk.hidden, part, random, gradients_.back());
      }
    }
  }

  void start(const qwen3_vl::OutputHead& head, const Tensor& hidden,
             std::span<const int64_t> tokens, Random& random, const Tensor& gradient) {
    const Arena::Scope scope(cx_.scratch);
    const auto count = static_cast<int64_t>(tokens.size());
    const Tensor states = cx_.scratch.tensor({count, hidden.dim(1)});
    const Tensor d_states = cx_.scratch.tensor(states.shape());
    for (int64_t i = 0; i < count; ++i) {
      cx_.backend.copy(hidden.rows(tokens[static_cast<size_t>(i)], 1), states.rows(i, 1));
    }
    const Tensor d_logits = on_host(cx_, head.logits(cx_, states));
    draw(d_logits, random);
    qwen3_vl::head_gradient(cx_, weights_, config_, states, d_logits, d_states);
    for (int64_t i = 0; i < count; ++i) {
      cx_.backend.copy(d_states.rows(i, 1), gradient.rows(tokens[static_cast<size_t>(i)], 1));
    }
  }

  void go_down(int64_t layer, TokenWeights& out) {
    const DecoderBlockGradient block(DecoderBlockWeights::load(weights_, config_.text, layer),
                                     config_.text, cx_.backend);
    SquareSums sums;
    for (size_t i = 0; i < rows_.chunks().size(); ++i) {
      const Activations::Chunk& chunk = rows_.chunks()[i];
      const Arena::Scope scope(cx_.scratch);
      const Sequences s = sequences_of(cx_, chunk, config_.text);
      block.run(
          cx_, chunk.rotary.cosine, chunk.rotary.sine, s.slices,
          inputs_[static_cast<size_t>(layer)][i], gradients_[i],
          [&](LinearRole role, const Tensor& d_output) { sums.add(cx_, role, d_output, chunk); });
      report(static_cast<int64_t>(chunk.rows.size()));
    }
    inputs_.pop_back();
    out.of(layer) = sums.weights(counts_);
  }

  Context& cx_;
  Activations rows_;
  const qwen3_vl::Weights& weights_;
  const qwen3_vl::Config& config_;
  const OnPart& on_part_;
  int64_t done_ = 0;  // rows through a layer, up or down
  int64_t total_ = 0;
  std::array<int64_t, kTokenClasses> counts_{};
  std::vector<std::vector<Tensor>> inputs_;  // by layer and chunk
  std::vector<Tensor> gradients_;            // by chunk
};

}  // namespace

TokenWeights::TokenWeights(int64_t layers, const ClassWeights& weights)
    : layers_(static_cast<size_t>(layers)) {
  for (Layer& layer : layers_) layer.fill(weights);
}

std::optional<TokenWeights> measure_token_weights(Context& cx, const Activations& rows,
                                                  const qwen3_vl::Weights& weights,
                                                  const qwen3_vl::Config& config, int64_t bytes,
                                                  const OnPart& on_part) {
  const int64_t per_token = (config.text.layers + 2) * config.text.hidden * 4;
  return GradientPass(cx, rows.sample(cx, std::max<int64_t>(1, bytes / per_token)), weights, config,
                      on_part)
      .run();
}

}  // namespace squint::quantize
