// decoder_gradient.h: how a loss depends on what the linear layers of a decoder layer put out, for
// measuring which of their errors matter. Not for training: weights have no gradients here.
#pragma once

#include <array>
#include <functional>
#include <span>

#include "models/qwen3_vl/model.h"

namespace squint::qwen3_vl {

// d_hidden = dLoss/d(hidden), both [tokens, hidden], of states before the final norm; d_logits f32
// [tokens, vocab] is dLoss/d(logits), on the host. Single values of it below 1e-4 are passed over:
// most of a large vocabulary.
void head_gradient(Context& cx, const Weights& weights, const Config& config, const Tensor& hidden,
                   const Tensor& d_logits, const Tensor& d_hidden);

class DecoderBlockGradient {
 public:
  // Dense weights only. Each is held twice, as it is and transposed.
  DecoderBlockGradient(const DecoderBlockWeights& weights, const TextConfig& config,
                       Backend& backend);

  // d_output: dLoss/d(output of the layer `role`) [tokens, its out_features], in scratch.
  using OnOutput = std::function<void(LinearRole role, const Tensor& d_output)>;

  // hidden [tokens, hidden], what went into the layer, is used up; d_hidden [tokens, hidden] comes
  // in as the gradient of what came out of it and is turned into that of what went in. Sequences
  // begin with the batch's tokens and have no cache: each attends to itself alone.
  void run(Context& cx, const Tensor& cosine, const Tensor& sine,
           std::span<const KvSlice> sequences, const Tensor& hidden, const Tensor& d_hidden,
           const OnOutput& on_output) const;

 private:
  struct Attended;
  Attended attend(Context& cx, const Tensor& cosine, const Tensor& sine,
                  std::span<const KvSlice> sequences, const Tensor& normed) const;
  void mlp(Context& cx, const Tensor& hidden, const Tensor& d_hidden,
           const OnOutput& on_output) const;
  void attention(Context& cx, const Tensor& cosine, const Tensor& sine,
                 std::span<const KvSlice> sequences, const Tensor& hidden, const Attended& forward,
                 const Tensor& d_hidden, const OnOutput& on_output) const;
  // out [tokens, in_features] += d_output · W
  void add_through(Context& cx, LinearRole role, const Tensor& d_output, const Tensor& out) const;

  const LinearWeight& linear(LinearRole role) const { return linears_[static_cast<size_t>(role)]; }
  const Tensor& norm(NormRole role) const { return norms_[static_cast<size_t>(role)]; }

  TextConfig config_;
  std::array<LinearWeight, kLinearRoles> linears_;
  std::array<LinearWeight, kLinearRoles> transposed_;
  std::array<Tensor, kNormRoles> norms_;
};

}  // namespace squint::qwen3_vl
