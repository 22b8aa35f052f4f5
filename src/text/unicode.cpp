#include "text/unicode.h"

#include <utf8proc.h>

#include <algorithm>
#include <map>

#include "base/check.h"
#include "text/utf8.h"

namespace squint::text {
namespace {

constexpr auto kCompose = static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE);
constexpr char32_t kCodePoints = 0x110000;

bool is_white_space(char32_t c) {
  return (0x09 <= c && c <= 0x0d) || c == 0x20 || c == 0x85 || c == 0xa0 || c == 0x1680 ||
         (0x2000 <= c && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f ||
         c == 0x3000;
}

CharClass class_of(char32_t c, utf8proc_category_t category) {
  if (is_white_space(c)) return CharClass::space;
  switch (category) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
      return CharClass::letter;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
      return CharClass::number;
    default:
      return CharClass::other;
  }
}

bool is_mark(utf8proc_category_t category) {
  return category == UTF8PROC_CATEGORY_MN || category == UTF8PROC_CATEGORY_MC ||
         category == UTF8PROC_CATEGORY_ME;
}

// Appends the full canonical decomposition of a code point.
void decompose(char32_t c, std::vector<utf8proc_int32_t>& out) {
  constexpr int kLongest = 18;  // of any decomposition, compatibility ones included
  const size_t size = out.size();
  out.resize(size + kLongest);
  const utf8proc_ssize_t length = utf8proc_decompose_char(static_cast<utf8proc_int32_t>(c),
                                                          &out[size], kLongest, kCompose, nullptr);
  SQUINT_CHECK(length >= 1 && length <= kLongest);
  out.resize(size + static_cast<size_t>(length));
}

// True if NFC changes c neither alone nor among other such characters. Only marks and the vowels
// and final consonants of Hangul compose with what stands before them or are reordered.
bool is_inert(char32_t c, const utf8proc_property_t& property) {
  if (is_mark(static_cast<utf8proc_category_t>(property.category))) return false;
  if (property.combining_class != 0) return false;
  if (0x1100 <= c && c <= 0x11ff) return false;
  if (property.decomp_seqindex == UINT16_MAX || property.decomp_type != 0) return true;
  std::vector<utf8proc_int32_t> whole;
  decompose(c, whole);
  const utf8proc_ssize_t length =
      utf8proc_normalize_utf32(whole.data(), static_cast<utf8proc_ssize_t>(whole.size()), kCompose);
  return length == 1 && whole[0] == static_cast<utf8proc_int32_t>(c);
}

bool is_inert_text(std::string_view text) {
  const CharTable& table = CharTable::instance();
  const char* at = text.data();
  const char* const end = at + text.size();
  while (at < end) {
    int length = 1;
    if (static_cast<uint8_t>(*at) >= 0x80 && !table.is_nfc_inert(decode_valid(at, length))) {
      return false;
    }
    at += length;
  }
  return true;
}

int combining_class(utf8proc_int32_t c) { return utf8proc_get_property(c)->combining_class; }

// Canonical order: marks sorted by combining class between the characters of class 0. A library
// sort rather than utf8proc_map, whose insertion sort takes quadratic time on a long run of marks.
void order_marks(std::vector<utf8proc_int32_t>& text) {
  const auto is_starter = [](utf8proc_int32_t c) { return combining_class(c) == 0; };
  auto at = text.begin();
  while (at != text.end()) {
    const auto begin = std::find_if_not(at, text.end(), is_starter);
    at = std::find_if(begin, text.end(), is_starter);
    if (at - begin < 2) continue;
    std::stable_sort(begin, at, [](utf8proc_int32_t a, utf8proc_int32_t b) {
      return combining_class(a) < combining_class(b);
    });
  }
}

}  // namespace

CharTable::CharTable() {
  std::map<std::vector<uint8_t>, uint32_t> starts;
  std::vector<uint8_t> page(kPageSize);
  for (char32_t first = 0; first < kCodePoints; first += kPageSize) {
    for (char32_t i = 0; i < kPageSize; ++i) {
      const char32_t c = first + i;
      const utf8proc_property_t& property =
          *utf8proc_get_property(static_cast<utf8proc_int32_t>(c));
      const CharClass kind = class_of(c, static_cast<utf8proc_category_t>(property.category));
      page[i] = static_cast<uint8_t>(static_cast<uint8_t>(kind) |
                                     (is_inert(c, property) ? kInertBit : 0));
    }
    const auto [known, is_new] = starts.try_emplace(page, static_cast<uint32_t>(entries_.size()));
    if (is_new) entries_.insert(entries_.end(), page.begin(), page.end());
    page_start_[first / kPageSize] = known->second;
  }
}

const CharTable& CharTable::instance() {
  static const CharTable kTable;
  return kTable;
}

std::string_view to_nfc(std::string_view text, std::string& buffer) {
  if (is_inert_text(text)) return text;
  std::vector<utf8proc_int32_t> code_points;
  code_points.reserve(text.size());
  for (const char* at = text.data(); at < text.data() + text.size();) {
    int length = 0;
    decompose(decode_valid(at, length), code_points);
    at += length;
  }
  order_marks(code_points);
  const utf8proc_ssize_t length = utf8proc_normalize_utf32(
      code_points.data(), static_cast<utf8proc_ssize_t>(code_points.size()), kCompose);
  SQUINT_CHECK(length >= 0);
  buffer.clear();
  buffer.reserve(text.size());
  for (utf8proc_ssize_t i = 0; i < length; ++i) {
    append_utf8(static_cast<char32_t>(code_points[static_cast<size_t>(i)]), buffer);
  }
  return buffer;
}

}  // namespace squint::text
