// divergence.h: two predictions of one token in numbers, and many of them summed up.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "models/qwen3_vl/answer_tokens.h"
#include "squint/compare.h"

namespace squint::eval {

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
// In the order of squint/compare.h.
std::vector<KindDivergence> summarize_kinds(std::span<const PredictedToken> tokens);

// Rows with the largest mean KL, at most `count`; of equals the first. Only row, tokens and kl are
// set.
std::vector<RowDivergence> worst_rows(std::span<const PredictedToken> tokens, int64_t count);

}  // namespace squint::eval
