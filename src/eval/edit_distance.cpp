#include "eval/edit_distance.h"

#include <algorithm>
#include <unordered_map>
#include <vector>

#include "eval/utf8.h"

namespace squint::eval {
namespace {

// Column j of the table holds the distances of all prefixes of the pattern to the text's first j
// characters (from any start, when searching). Bit i of `plus` and `minus` says whether the
// distance rises or falls by one from prefix i to prefix i + 1.
struct Block {
  uint64_t plus = ~uint64_t{0}, minus = 0;
};

// Moves a block one column on. `matches` marks the characters of the pattern that equal the text's;
// `in` is how the distance above the block changed (-1, 0, 1); the result how it did in row `last`.
int advance(Block& block, uint64_t matches, int in, uint64_t last) {
  const uint64_t vertical = matches | block.minus;
  if (in < 0) matches |= 1;
  const uint64_t horizontal = (((matches & block.plus) + block.plus) ^ block.plus) | matches;
  uint64_t plus = block.minus | ~(horizontal | block.plus);
  uint64_t minus = block.plus & horizontal;
  const int out = (plus & last) != 0 ? 1 : (minus & last) != 0 ? -1 : 0;
  plus = (plus << 1) | static_cast<uint64_t>(in > 0);
  minus = (minus << 1) | static_cast<uint64_t>(in < 0);
  block.plus = minus | ~(vertical | plus);
  block.minus = plus & vertical;
  return out;
}

struct Distances {
  int64_t whole = 0;  // after the last column
  int64_t least = 0;  // in any column
};

Distances scan(std::u32string_view pattern, std::u32string_view text, bool from_any_start) {
  const size_t count = (pattern.size() + 63) / 64;
  std::unordered_map<char32_t, std::vector<uint64_t>> matches;
  for (size_t i = 0; i < pattern.size(); ++i) {
    auto& bits = matches[pattern[i]];
    bits.resize(count);
    bits[i / 64] |= uint64_t{1} << (i % 64);
  }
  const std::vector<uint64_t> none(count);
  std::vector<Block> blocks(count);
  const uint64_t last_row = uint64_t{1} << ((pattern.size() - 1) % 64);
  Distances d{static_cast<int64_t>(pattern.size()), static_cast<int64_t>(pattern.size())};
  for (const char32_t c : text) {
    const auto found = matches.find(c);
    const std::vector<uint64_t>& bits = found == matches.end() ? none : found->second;
    int change = from_any_start ? 0 : 1;
    for (size_t b = 0; b < count; ++b) {
      change = advance(blocks[b], bits[b], change, b + 1 < count ? uint64_t{1} << 63 : last_row);
    }
    d.whole += change;
    d.least = std::min(d.least, d.whole);
  }
  return d;
}

}  // namespace

int64_t edit_distance(std::u32string_view a, std::u32string_view b) {
  if (a.size() > b.size()) std::swap(a, b);
  if (a.empty()) return static_cast<int64_t>(b.size());
  return scan(a, b, /*from_any_start=*/false).whole;
}

int64_t best_window_distance(std::u32string_view pattern, std::u32string_view text) {
  if (pattern.empty()) return 0;
  return scan(pattern, text, /*from_any_start=*/true).least;
}

double normalized_edit_distance(std::string_view a, std::string_view b) {
  if (a == b) return 0;
  const std::u32string x = code_points(a);
  const std::u32string y = code_points(b);
  return static_cast<double>(edit_distance(x, y)) /
         static_cast<double>(std::max(x.size(), y.size()));
}

}  // namespace squint::eval
