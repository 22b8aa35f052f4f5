#include "eval/python_list.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>

#include "squint/error.h"
#include "text/utf8.h"

namespace squint::eval {
namespace {

constexpr std::string_view kSpaces = " \t\r\n\f\v";

int digit_of(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return c >= 'A' && c <= 'F' ? c - 'A' + 10 : 16;
}

class Literal {
 public:
  Literal(std::string_view cell, std::string_view where) : cell_(cell), where_(where) {}

  std::vector<std::string> list() {
    std::vector<std::string> out;
    expect('[');
    while (!take(']')) {
      out.push_back(string());
      if (take(',')) continue;
      expect(']');
      break;
    }
    skip_spaces();
    if (at_ < cell_.size()) fail("the end");
    return out;
  }

 private:
  void skip_spaces() { at_ = std::min(cell_.find_first_not_of(kSpaces, at_), cell_.size()); }

  bool take(char c) {
    skip_spaces();
    if (at_ >= cell_.size() || cell_[at_] != c) return false;
    ++at_;
    return true;
  }
  void expect(char c) {
    if (!take(c)) fail(fmt::format("\"{}\"", c));
  }

  char next() {
    if (at_ >= cell_.size()) fail("the end of a string");
    return cell_[at_++];
  }

  std::string string() {
    skip_spaces();
    if (at_ < cell_.size() && (cell_[at_] == 'u' || cell_[at_] == 'U')) ++at_;
    const char quote = at_ < cell_.size() ? cell_[at_] : '\0';
    if (quote != '\'' && quote != '"') fail("a string in quotes");
    ++at_;
    std::string out;
    for (char c = next(); c != quote; c = next()) {
      if (c == '\\') {
        escape(out);
      } else {
        out += c;
      }
    }
    return out;
  }

  // What follows a backslash; an unknown letter keeps it.
  void escape(std::string& out) {
    static constexpr std::string_view kLetters = "\\'\"nrtabfv";
    static constexpr std::string_view kMeanings = "\\'\"\n\r\t\a\b\f\v";
    const char c = next();
    const size_t known = kLetters.find(c);
    if (known != kLetters.npos) {
      out += kMeanings[known];
    } else if (c == 'x' || c == 'u' || c == 'U') {
      text::append_utf8(number(c == 'x' ? 2 : c == 'u' ? 4 : 8, 16), out);
    } else if (digit_of(c) < 8) {
      --at_;
      text::append_utf8(number(3, 8), out);
    } else if (c != '\n') {  // A line that is continued leaves nothing.
      out += '\\';
      out += c;
    }
  }

  // `digits` of them; in octal there may be fewer.
  char32_t number(int digits, int base) {
    uint32_t value = 0;
    for (int i = 0; i < digits; ++i) {
      const int digit = at_ < cell_.size() ? digit_of(cell_[at_]) : 16;
      if (digit >= base && base == 8) break;
      if (digit >= base) fail(fmt::format("{} hexadecimal digits", digits));
      value = value * static_cast<uint32_t>(base) + static_cast<uint32_t>(digit);
      ++at_;
    }
    if (value > 0x10FFFF || (value >= 0xD800 && value < 0xE000)) fail("a character of Unicode");
    return static_cast<char32_t>(value);
  }

  [[noreturn]] void fail(std::string_view expected) const {
    throw Error(ErrorCode::bad_input,
                fmt::format("{}: a Python list of strings should have {} at character {} of \"{}\"",
                            where_, expected, at_ + 1, cell_.substr(0, 64)));
  }

  std::string_view cell_;
  std::string_view where_;
  size_t at_ = 0;
};

}  // namespace

std::vector<std::string> python_strings(std::string_view cell, std::string_view where) {
  const size_t begin = cell.find_first_not_of(kSpaces);
  if (begin == cell.npos || cell[begin] != '[') return {std::string(cell)};
  return Literal(cell, where).list();
}

}  // namespace squint::eval
