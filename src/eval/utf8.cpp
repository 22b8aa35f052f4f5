#include "eval/utf8.h"

#include <fmt/format.h>
#include <utf8proc.h>

#include "base/check.h"

namespace squint::eval {
namespace {

void append(std::string& out, char32_t c) {
  utf8proc_uint8_t bytes[4];
  const auto size = utf8proc_encode_char(static_cast<utf8proc_int32_t>(c), bytes);
  out.append(reinterpret_cast<const char*>(bytes), static_cast<size_t>(size));
}

// Calls visit(code point, its bytes) from left to right.
template <class Visit>
void for_each(std::string_view text, const Visit& visit) {
  for (size_t at = 0; at < text.size();) {
    const CodePoint c = decode_at(text, at);
    visit(c.value, text.substr(at, static_cast<size_t>(c.size)));
    at += static_cast<size_t>(c.size);
  }
}

utf8proc_category_t category(char32_t c) {
  return c >= kStrayByte ? UTF8PROC_CATEGORY_CN
                         : utf8proc_category(static_cast<utf8proc_int32_t>(c));
}

bool is_letter_or_digit(char32_t c) {
  const utf8proc_category_t k = category(c);
  return (k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_LO) ||
         (k >= UTF8PROC_CATEGORY_ND && k <= UTF8PROC_CATEGORY_NO);
}

// Characters that a terminal acts upon, or that reorder or hide what stands around them.
bool is_unprintable(char32_t c) {
  const utf8proc_category_t k = category(c);
  return k == UTF8PROC_CATEGORY_CC || k == UTF8PROC_CATEGORY_CF || k == UTF8PROC_CATEGORY_ZL ||
         k == UTF8PROC_CATEGORY_ZP;
}

int width_of(char32_t c) {
  return c >= kStrayByte ? 1 : utf8proc_charwidth(static_cast<utf8proc_int32_t>(c));
}

}  // namespace

CodePoint decode_at(std::string_view text, size_t at) {
  SQUINT_DCHECK(at < text.size());
  utf8proc_int32_t value = 0;
  const auto size = utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data() + at),
                                     static_cast<utf8proc_ssize_t>(text.size() - at), &value);
  if (size <= 0) return {kStrayByte + static_cast<unsigned char>(text[at]), 1};
  return {static_cast<char32_t>(value), static_cast<int>(size)};
}

std::u32string code_points(std::string_view text) {
  std::u32string out;
  out.reserve(text.size());
  for_each(text, [&](char32_t c, std::string_view) { out.push_back(c); });
  return out;
}

bool is_space(char32_t c) {
  return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 ||
         c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F ||
         c == 0x205F || c == 0x3000;
}

std::string_view strip(std::string_view text) {
  size_t begin = text.size();
  size_t end = text.size();
  for (size_t at = 0; at < text.size();) {
    const CodePoint c = decode_at(text, at);
    const size_t next = at + static_cast<size_t>(c.size);
    if (!is_space(c.value)) {
      if (begin == text.size()) begin = at;
      end = next;
    }
    at = next;
  }
  return text.substr(begin, end - begin);
}

std::string without_spaces(std::string_view text) {
  std::string out;
  for_each(text, [&](char32_t c, std::string_view bytes) {
    if (!is_space(c)) out += bytes;
  });
  return out;
}

std::string letters_and_digits(std::string_view text) {
  std::string out;
  for_each(text, [&](char32_t c, std::string_view bytes) {
    if (is_letter_or_digit(c)) out += bytes;
  });
  return out;
}

std::string lower(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for_each(text, [&](char32_t c, std::string_view bytes) {
    if (c >= kStrayByte) {
      out += bytes;
    } else if (c == 0x0130) {  // The one letter whose lower case is two code points.
      out += "i\u0307";
    } else {
      append(out, static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c))));
    }
  });
  return out;
}

std::string fold_full_width(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for_each(text, [&](char32_t c, std::string_view bytes) {
    if (c >= 0xFF01 && c <= 0xFF5E) {
      out += static_cast<char>(c - 0xFF01 + '!');
    } else if (c == 0x3000) {
      out += ' ';
    } else {
      out += bytes;
    }
  });
  return out;
}

std::string one_line(std::string_view text) {
  std::string out;
  for_each(text, [&](char32_t c, std::string_view bytes) {
    if (c == '\n') {
      out += "\\n";
    } else if (c == '\t') {
      out += "\\t";
    } else if (c >= kStrayByte) {
      out += "\uFFFD";
    } else if (is_unprintable(c)) {
      out += fmt::format("\\u{{{:X}}}", static_cast<uint32_t>(c));
    } else {
      out += bytes;
    }
  });
  return out;
}

int display_width(std::string_view text) {
  int width = 0;
  for_each(text, [&](char32_t c, std::string_view) { width += width_of(c); });
  return width;
}

std::string clip(std::string_view text, int width) {
  SQUINT_CHECK(width >= 1);
  int used = 0;
  size_t keep = 0;  // bytes that leave a column for the ellipsis
  for (size_t at = 0; at < text.size();) {
    const CodePoint c = decode_at(text, at);
    used += width_of(c.value);
    if (used > width) return std::string(text.substr(0, keep)) + "\u2026";
    at += static_cast<size_t>(c.size);
    if (used < width) keep = at;
  }
  return std::string(text);
}

}  // namespace squint::eval
