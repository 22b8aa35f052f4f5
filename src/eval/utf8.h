// utf8.h: text as code points, for scoring rules and for terminals.
//
// Models may emit any bytes. A byte that is part of no valid UTF-8 sequence counts as one code
// point of its own and survives every function here but `one_line`.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace squint::eval {

struct CodePoint {
  char32_t value = 0;  // kStrayByte + byte where the byte belongs to no valid sequence
  int size = 0;        // bytes
};
inline constexpr char32_t kStrayByte = 0x110000;  // just above the last code point
CodePoint decode_at(std::string_view text, size_t at);
std::u32string code_points(std::string_view text);

// What Python's str.strip takes away.
bool is_space(char32_t c);
std::string_view strip(std::string_view text);
std::string without_spaces(std::string_view text);
std::string letters_and_digits(std::string_view text);

// Full lower case per code point; see score.h for the one difference from Python's str.lower.
std::string lower(std::string_view text);
// U+FF01..U+FF5E to ASCII, U+3000 to a space.
std::string fold_full_width(std::string_view text);

// Text that can do a terminal no harm: control and formatting characters become visible escapes,
// stray bytes U+FFFD.
std::string one_line(std::string_view text);
// Columns on a terminal, of text without control characters.
int display_width(std::string_view text);
// At most `width` columns, the last one an ellipsis where something was cut. width >= 1.
std::string clip(std::string_view text, int width);

}  // namespace squint::eval
