#include "text/pre_tokenizer.h"

#include "text/utf8.h"

namespace squint::text {
namespace {

constexpr char32_t kLongS = 0x17f;  // folds to s, so (?i:'s) accepts it

bool is_line_break(char32_t c) { return c == '\r' || c == '\n'; }

struct Char {
  char32_t code_point;
  int length;
  CharClass kind;
};

Char read(const CharTable& table, const char* at) {
  int length = 0;
  const char32_t code_point = decode_valid(at, length);
  return {code_point, length, table.char_class(code_point)};
}

const char* skip(const CharTable& table, CharClass kind, const char* at, const char* end) {
  while (at < end) {
    const Char c = read(table, at);
    if (c.kind != kind) break;
    at += c.length;
  }
  return at;
}

const char* skip_line_breaks(const char* at, const char* end) {
  while (at < end && is_line_break(static_cast<uint8_t>(*at))) ++at;
  return at;
}

// The end of s, t, re, ve, m, ll or d, in any case, at `at`; nullptr if there is none.
const char* contraction_end(const char* at, const char* end) {
  if (at == end) return nullptr;
  int length = 0;
  const char32_t c = decode_valid(at, length);
  if (c == kLongS) return at + length;
  const auto lower = [](char byte) { return static_cast<char>(byte | 0x20); };
  if (c >= 0x80) return nullptr;
  const char first = lower(*at);
  if (first == 's' || first == 't' || first == 'm' || first == 'd') return at + 1;
  if (end - at < 2) return nullptr;
  const char second = lower(at[1]);
  const bool is_pair = (first == 'r' && second == 'e') || (first == 'v' && second == 'e') ||
                       (first == 'l' && second == 'l');
  return is_pair ? at + 2 : nullptr;
}

// The end of the piece in a run of whitespace (rules 5 to 7): through its last line break; without
// one all of it at the end of the segment, else all but the last character, which goes in front of
// the next piece, unless it is the only one.
const char* space_end(const CharTable& table, const char* begin, const char* end) {
  const char* after_line_break = nullptr;
  const char* last = begin;
  const char* at = begin;
  while (at < end) {
    const Char c = read(table, at);
    if (c.kind != CharClass::space) break;
    last = at;
    at += c.length;
    if (is_line_break(c.code_point)) after_line_break = at;
  }
  if (after_line_break != nullptr) return after_line_break;
  return at == end || last == begin ? at : last;
}

const char* piece_end(const CharTable& table, const char* begin, const char* end) {
  const Char c = read(table, begin);
  const char* const second = begin + c.length;
  if (c.code_point == '\'') {
    const char* const after = contraction_end(second, end);
    if (after != nullptr) return after;
  }
  if (c.kind == CharClass::letter) return skip(table, CharClass::letter, second, end);
  if (c.kind == CharClass::number) return second;
  if (!is_line_break(c.code_point)) {
    const char* const after = skip(table, CharClass::letter, second, end);
    if (after != second) return after;
  }
  const char* const symbols = c.code_point == ' ' ? second : begin;
  const char* const after_symbols = skip(table, CharClass::other, symbols, end);
  if (after_symbols != symbols) return skip_line_breaks(after_symbols, end);
  return space_end(table, begin, end);
}

}  // namespace

std::string_view PieceScanner::next() {
  const char* const begin = at_;
  at_ = piece_end(*table_, begin, end_);
  return {begin, static_cast<size_t>(at_ - begin)};
}

}  // namespace squint::text
