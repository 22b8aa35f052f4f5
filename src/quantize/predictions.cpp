#include "quantize/predictions.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/quantile.h"
#include "ops/copies.h"
#include "squint/error.h"

namespace squint::quantize {
namespace {

double log_sum_exp(std::span<const float> logits) {
  const double largest = *std::ranges::max_element(logits);
  double sum = 0;
  for (const float x : logits) sum += std::exp(x - largest);
  return largest + std::log(sum);
}

// Of equals the first.
int64_t most_likely(std::span<const float> logits) {
  return std::ranges::max_element(logits) - logits.begin();
}

// [slice, vocab] on the host.
Tensor logits_of(Context& cx, const Predictor& predictor, std::span<const AnswerPlace> slice) {
  const std::vector<Activations::Chunk>& chunks = predictor.states.chunks();
  const Tensor hidden =
      cx.scratch.tensor({static_cast<int64_t>(slice.size()), chunks[0].hidden.dim(1)});
  int64_t row = 0;
  for (const AnswerPlace& place : slice) {
    cx.backend.copy(chunks[place.chunk].hidden.rows(place.at, 1), hidden.rows(row++, 1));
  }
  return on_host(cx, predictor.head.logits(cx, hidden));
}

void add_tokens(Context& cx, std::span<const AnswerPlace> slice, const Tensor& expected,
                const Tensor& found, std::vector<PredictedToken>& out) {
  const size_t first = out.size();
  out.resize(first + slice.size());
  cx.backend.host_threads().parallel_for(
      static_cast<int64_t>(slice.size()), 1, [&](int64_t from, int64_t to, int) {
        for (int64_t i = from; i < to; ++i) {
          const AnswerPlace& place = slice[static_cast<size_t>(i)];
          const auto p = expected.rows(i, 1).span<float>();
          const auto q = found.rows(i, 1).span<float>();
          out[first + static_cast<size_t>(i)] = {.row = static_cast<int64_t>(place.row),
                                                 .kind = place.token.kind,
                                                 .after_image = place.token.after_image,
                                                 .same_top = most_likely(p) == most_likely(q),
                                                 .kl = kl_divergence(p, q)};
        }
      });
}

}  // namespace

double kl_divergence(std::span<const float> base, std::span<const float> other) {
  const double base_sum = log_sum_exp(base);
  const double other_sum = log_sum_exp(other);
  double kl = 0;
  for (size_t i = 0; i < base.size(); ++i) {
    const double log_p = base[i] - base_sum;
    kl += std::exp(log_p) * (log_p - (other[i] - other_sum));
  }
  return kl;
}

TokenDivergence summarize(std::span<const PredictedToken> tokens) {
  TokenDivergence out;
  if (tokens.empty()) return out;
  std::vector<double> kl;
  for (const PredictedToken& token : tokens) {
    kl.push_back(token.kl);
    out.kl += token.kl;
    out.top1 += token.same_top ? 1 : 0;
  }
  std::ranges::sort(kl);
  const auto count = static_cast<double>(tokens.size());
  out.tokens = static_cast<int64_t>(tokens.size());
  out.kl /= count;
  out.top1 /= count;
  out.median = quantile(kl, 0.5);
  out.p90 = quantile(kl, 0.9);
  out.p99 = quantile(kl, 0.99);
  out.max = kl.back();
  return out;
}

std::vector<AnswerPlace> answer_places(const Activations& states,
                                       const qwen3_vl::Processor& processor,
                                       const qwen3_vl::Config& config) {
  std::vector<AnswerPlace> out;
  size_t row = 0;
  for (size_t c = 0; c < states.chunks().size(); ++c) {
    for (const Activations::Row& packed : states.chunks()[c].rows) {
      for (const qwen3_vl::AnswerToken& token :
           qwen3_vl::answer_tokens(packed.input.ids, processor.tokenizer(),
                                   static_cast<int32_t>(config.image_token_id))) {
        out.push_back(
            {.row = row, .chunk = c, .at = packed.first + token.index - 1, .token = token});
      }
      ++row;
    }
  }
  return out;
}

std::vector<std::vector<PredictedToken>> compare_predictions(Context& cx,
                                                             std::span<const Conversation> rows,
                                                             std::span<const AnswerPlace> places,
                                                             const Predictor& base,
                                                             std::span<const Predictor> others,
                                                             const std::function<void()>& on_part) {
  std::vector<std::vector<PredictedToken>> out(others.size());
  for (size_t at = 0; at < places.size(); at += kLogitTokens) {
    const Arena::Scope scope(cx.scratch);
    const auto slice = places.subspan(at, std::min<size_t>(kLogitTokens, places.size() - at));
    const Tensor expected = logits_of(cx, base, slice);
    for (size_t i = 0; i < others.size(); ++i) {
      add_tokens(cx, slice, expected, logits_of(cx, others[i], slice), out[i]);
      for (const PredictedToken& token : std::span(out[i]).subspan(at)) {
        if (std::isfinite(token.kl)) continue;
        throw Error(
            ErrorCode::bad_input,
            fmt::format("{}: what {} or {} predicts is NaN or infinity; damaged weights?",
                        rows[static_cast<size_t>(token.row)].where, base.name, others[i].name));
      }
    }
    on_part();
  }
  return out;
}

}  // namespace squint::quantize
