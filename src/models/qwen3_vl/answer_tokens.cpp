#include "models/qwen3_vl/answer_tokens.h"

#include <algorithm>
#include <array>
#include <string>

#include "text/utf8.h"

namespace squint::qwen3_vl {
namespace {

constexpr std::string_view kHeader = "assistant\n";

bool is_cjk(char32_t c) {
  struct Range {
    char32_t first, last;
  };
  static constexpr std::array<Range, 8> kRanges = {{
      {0x1100, 0x11FF},    // hangul jamo
      {0x2E80, 0x9FFF},    // radicals, punctuation, kana, bopomofo, ideographs
      {0xA960, 0xA97F},    // hangul jamo
      {0xAC00, 0xD7FF},    // hangul
      {0xF900, 0xFAFF},    // compatibility ideographs
      {0xFE30, 0xFE4F},    // vertical punctuation
      {0xFF00, 0xFFEF},    // full-width and half-width forms
      {0x20000, 0x3FFFF},  // ideographs
  }};
  return std::ranges::any_of(kRanges, [c](Range r) { return c >= r.first && c <= r.last; });
}

// One for each byte.
std::vector<TokenKind> kinds_of_bytes(std::string_view text) {
  std::vector<TokenKind> kinds;
  while (!text.empty()) {
    const text::Utf8Step step = text::utf8_step(text);
    TokenKind kind = TokenKind::text;
    if (step.kind == text::Utf8Step::Kind::valid) {
      if (step.code_point >= '0' && step.code_point <= '9') kind = TokenKind::digits;
      if (is_cjk(step.code_point)) kind = TokenKind::cjk;
    }
    kinds.insert(kinds.end(), step.length, kind);
    text.remove_prefix(step.length);
  }
  return kinds;
}

// Kinds of the tokens of one turn.
std::vector<TokenKind> kinds_of(std::span<const int32_t> ids, const text::Tokenizer& tokenizer,
                                int32_t end) {
  std::string text;
  for (const int32_t id : ids) text += tokenizer.bytes(id);
  const std::vector<TokenKind> bytes = kinds_of_bytes(text);
  std::vector<TokenKind> kinds;
  auto at = bytes.begin();
  for (const int32_t id : ids) {
    const auto next = at + static_cast<std::ptrdiff_t>(tokenizer.bytes(id).size());
    const TokenKind held = at == next ? TokenKind::text : *std::max_element(at, next);
    kinds.push_back(id == end ? TokenKind::end : held);
    at = next;
  }
  return kinds;
}

}  // namespace

std::string_view name(TokenKind kind) {
  switch (kind) {
    case TokenKind::text:
      return "text";
    case TokenKind::digits:
      return "digits";
    case TokenKind::cjk:
      return "cjk";
    case TokenKind::end:
      return "end";
  }
  return "";
}

std::vector<AnswerToken> answer_tokens(std::span<const int32_t> ids,
                                       const text::Tokenizer& tokenizer, int32_t image_token) {
  const int32_t start = tokenizer.token_id("<|im_start|>").value_or(-1);
  const int32_t end = tokenizer.token_id("<|im_end|>").value_or(-1);
  std::vector<AnswerToken> out;
  bool after_image = false;
  for (size_t at = 0; at < ids.size();) {
    const int32_t id = ids[at++];
    if (id == image_token) after_image = true;
    if (id != start) continue;
    std::string header;
    while (at < ids.size() && header.size() < kHeader.size() && kHeader.starts_with(header)) {
      header += tokenizer.bytes(ids[at++]);
    }
    if (!header.starts_with(kHeader)) continue;
    const auto turn_end = std::find(ids.begin() + static_cast<std::ptrdiff_t>(at), ids.end(), end);
    const auto last = static_cast<size_t>(turn_end - ids.begin()) + (turn_end != ids.end() ? 1 : 0);
    for (const TokenKind kind : kinds_of(ids.subspan(at, last - at), tokenizer, end)) {
      out.push_back({static_cast<int64_t>(at++), kind, after_image});
    }
  }
  return out;
}

}  // namespace squint::qwen3_vl
