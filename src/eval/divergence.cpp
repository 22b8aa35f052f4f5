#include "eval/divergence.h"

#include <algorithm>
#include <string>
#include <string_view>

namespace squint::eval {

using quantize::PredictedToken;
using quantize::summarize;

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
