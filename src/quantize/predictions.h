// predictions.h: what several models predict for the same answer tokens, and how far that is from
// what the first of them does.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "models/qwen3_vl/answer_tokens.h"
#include "models/qwen3_vl/model.h"
#include "quantize/activations.h"
#include "squint/divergence.h"

namespace squint::quantize {

// Σ_i p_i (ln p_i - ln q_i) in nats, of two softmaxes over `base` and `other`. In double.
double kl_divergence(std::span<const float> base, std::span<const float> other);

// What two models made of one answer token.
struct PredictedToken {
  int64_t row = 0;  // from 0, ascending in a list of these
  qwen3_vl::TokenKind kind = qwen3_vl::TokenKind::text;
  bool after_image = false;
  bool same_top = false;
  double kl = 0;
};

TokenDivergence summarize(std::span<const PredictedToken> tokens);

// An answer token, and where the state that predicts it stands.
struct AnswerPlace {
  size_t row = 0;  // of those that were embedded
  size_t chunk = 0;
  int64_t at = 0;  // row of the chunk's hidden states
  qwen3_vl::AnswerToken token;
};

// In the order of the rows.
std::vector<AnswerPlace> answer_places(const Activations& states,
                                       const qwen3_vl::Processor& processor,
                                       const qwen3_vl::Config& config);

// A model behind its last layer.
struct Predictor {
  const Activations& states;
  const qwen3_vl::OutputHead& head;
  std::string name;
};

inline constexpr int64_t kLogitTokens = 64;  // whose logits are in memory at once

// A list for each of `others`, all of which went through the same `rows`; PredictedToken::row
// counts these. `on_part` is called now and then and may throw to stop. Error(bad_input) where a
// prediction is no finite number.
std::vector<std::vector<PredictedToken>> compare_predictions(
    Context& cx, std::span<const Conversation> rows, std::span<const AnswerPlace> places,
    const Predictor& base, std::span<const Predictor> others, const std::function<void()>& on_part);

}  // namespace squint::quantize
