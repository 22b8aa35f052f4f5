// unicode.h: what the tokenizer has to know about characters: three classes and NFC.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace squint::text {

enum class CharClass : uint8_t {
  other,   // punctuation, symbols, marks, controls, unassigned
  letter,  // general category L
  number,  // general category N
  space,   // White_Space
};

// The class of every code point, and whether it is sure to be left alone by NFC next to others of
// the same kind. Built once from the Unicode 15 tables, on first use.
class CharTable {
 public:
  static const CharTable& instance();

  // code_point <= U+10FFFF
  CharClass char_class(char32_t code_point) const {
    return static_cast<CharClass>(entry(code_point) & 3);
  }
  bool is_nfc_inert(char32_t code_point) const { return (entry(code_point) & kInertBit) != 0; }

 private:
  static constexpr uint8_t kInertBit = 4;
  static constexpr size_t kPageSize = 256;
  static constexpr size_t kPages = 0x110000 / kPageSize;

  CharTable();
  uint8_t entry(char32_t code_point) const {
    return entries_[page_start_[code_point / kPageSize] + code_point % kPageSize];
  }

  std::array<uint32_t, kPages> page_start_;
  std::vector<uint8_t> entries_;  // distinct pages, one after the other
};

// Canonical composition (NFC) of valid UTF-8. Returns `text` itself where that is already in NFC,
// which is known at once for most text; else the result lies in `buffer`.
std::string_view to_nfc(std::string_view text, std::string& buffer);

}  // namespace squint::text
