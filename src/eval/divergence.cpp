#include "eval/divergence.h"

#include <algorithm>
#include <cmath>

#include "eval/statistics.h"

namespace squint::eval {
namespace {

double log_sum_exp(std::span<const float> logits) {
  const double largest = *std::ranges::max_element(logits);
  double sum = 0;
  for (const float x : logits) sum += std::exp(x - largest);
  return largest + std::log(sum);
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

std::vector<KindDivergence> summarize_kinds(std::span<const PredictedToken> tokens) {
  std::vector<KindDivergence> out;
  const auto add = [&](std::string_view kind, auto&& belongs) {
    std::vector<PredictedToken> part;
    std::ranges::copy_if(tokens, std::back_inserter(part), belongs);
    if (!part.empty()) out.push_back({std::string(kind), summarize(part)});
  };
  add("after_image", [](const PredictedToken& t) { return t.after_image; });
  add("no_image", [](const PredictedToken& t) { return !t.after_image; });
  using enum qwen3_vl::TokenKind;
  for (const qwen3_vl::TokenKind kind : {text, digits, cjk, end}) {
    add(name(kind), [kind](const PredictedToken& t) { return t.kind == kind; });
  }
  return out;
}

std::vector<RowDivergence> worst_rows(std::span<const PredictedToken> tokens, int64_t count) {
  std::vector<RowDivergence> rows;
  for (const PredictedToken& token : tokens) {
    if (rows.empty() || rows.back().row != token.row) rows.push_back({.row = token.row});
    ++rows.back().tokens;
    rows.back().kl += token.kl;
  }
  for (RowDivergence& row : rows) row.kl /= static_cast<double>(row.tokens);
  std::ranges::stable_sort(rows, std::greater(), &RowDivergence::kl);
  rows.resize(std::min(rows.size(), static_cast<size_t>(count)));
  return rows;
}

}  // namespace squint::eval
