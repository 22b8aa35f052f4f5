// utf8.h: reading UTF-8 that may be broken.
//
// A maximal invalid part is the longest prefix of a character that the next byte does not continue,
// or a single byte that starts none (Unicode 15, §3.9, "U+FFFD substitution of maximal subparts").
// Surrogates, overlong forms and code points above U+10FFFF are invalid.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace squint::text {

inline constexpr std::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD

struct Utf8Step {
  enum class Kind : uint8_t {
    valid,
    invalid,    // a maximal invalid part
    truncated,  // the text ends inside a character that more bytes could complete
  };
  char32_t code_point;  // of a valid step only
  uint8_t length;       // bytes, 1 to 4
  Kind kind;
};

// The step at the start of text, which must not be empty.
Utf8Step utf8_step(std::string_view text);

// Decodes the character at `text`, which must be valid; sets its length. For inner loops.
inline char32_t decode_valid(const char* text, int& length) {
  const auto byte = [text](int i) { return static_cast<uint8_t>(text[i]); };
  const auto low = [&](int i) { return static_cast<char32_t>(byte(i) & 0x3f); };
  if (byte(0) < 0x80) return length = 1, byte(0);
  if (byte(0) < 0xe0) return length = 2, (byte(0) & 0x1fu) << 6 | low(1);
  if (byte(0) < 0xf0) return length = 3, (byte(0) & 0x0fu) << 12 | low(1) << 6 | low(2);
  return length = 4, (byte(0) & 0x07u) << 18 | low(1) << 12 | low(2) << 6 | low(3);
}

void append_utf8(char32_t code_point, std::string& text);

// Appends text to out with each maximal invalid part as U+FFFD, an unfinished end included.
void append_repaired(std::string_view text, std::string& out);

// Bytes at the end of text, 0 to 3, that begin a character without finishing it.
size_t unfinished_tail(std::string_view text);

}  // namespace squint::text
