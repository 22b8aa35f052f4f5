#include "text/utf8.h"

#include <algorithm>

namespace squint::text {
namespace {

constexpr uint8_t byte_at(std::string_view text, size_t i) { return static_cast<uint8_t>(text[i]); }

// Length of the character a byte starts, 0 if it starts none: 0xC0 and 0xC1 would be overlong, from
// 0xF5 on the code point would leave Unicode.
int announced_length(uint8_t lead) {
  if (lead < 0x80) return 1;
  if (lead < 0xc2) return 0;
  if (lead < 0xe0) return 2;
  if (lead < 0xf0) return 3;
  return lead < 0xf5 ? 4 : 0;
}

// The second byte alone decides about overlong forms, surrogates and the end of Unicode.
bool continues(uint8_t lead, int index, uint8_t byte) {
  uint8_t low = 0x80;
  uint8_t high = 0xbf;
  if (index == 1) {
    if (lead == 0xe0) low = 0xa0;
    if (lead == 0xed) high = 0x9f;
    if (lead == 0xf0) low = 0x90;
    if (lead == 0xf4) high = 0x8f;
  }
  return low <= byte && byte <= high;
}

}  // namespace

Utf8Step utf8_step(std::string_view text) {
  using Kind = Utf8Step::Kind;
  const uint8_t lead = byte_at(text, 0);
  const int length = announced_length(lead);
  if (length == 0) return {0, 1, Kind::invalid};
  for (int i = 1; i < length; ++i) {
    const auto seen = static_cast<uint8_t>(i);
    if (static_cast<size_t>(i) == text.size()) return {0, seen, Kind::truncated};
    if (!continues(lead, i, byte_at(text, static_cast<size_t>(i)))) return {0, seen, Kind::invalid};
  }
  int decoded_length = 0;
  const char32_t code_point = decode_valid(text.data(), decoded_length);
  return {code_point, static_cast<uint8_t>(length), Kind::valid};
}

void append_utf8(char32_t code_point, std::string& text) {
  const auto put = [&text](char32_t byte) { text.push_back(static_cast<char>(byte)); };
  const auto tail = [&](int shift) { put(0x80 | (code_point >> shift & 0x3f)); };
  if (code_point < 0x80) {
    put(code_point);
  } else if (code_point < 0x800) {
    put(0xc0 | code_point >> 6);
    tail(0);
  } else if (code_point < 0x10000) {
    put(0xe0 | code_point >> 12);
    tail(6);
    tail(0);
  } else {
    put(0xf0 | code_point >> 18);
    tail(12);
    tail(6);
    tail(0);
  }
}

void append_repaired(std::string_view text, std::string& out) {
  size_t copied = 0;
  size_t at = 0;
  while (at < text.size()) {
    const Utf8Step step = utf8_step(text.substr(at));
    if (step.kind != Utf8Step::Kind::valid) {
      out += text.substr(copied, at - copied);
      out += kReplacement;
      copied = at + step.length;
    }
    at += step.length;
  }
  out += text.substr(copied);
}

size_t unfinished_tail(std::string_view text) {
  const size_t longest = std::min<size_t>(3, text.size());
  for (size_t held = 1; held <= longest; ++held) {
    const bool is_continuation = (byte_at(text, text.size() - held) & 0xc0) == 0x80;
    if (is_continuation) continue;
    const Utf8Step step = utf8_step(text.substr(text.size() - held));
    return step.kind == Utf8Step::Kind::truncated ? held : 0;
  }
  return 0;
}

}  // namespace squint::text
