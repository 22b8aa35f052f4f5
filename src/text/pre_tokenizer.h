// pre_tokenizer.h: cuts text into the pieces that merges never cross (spec qwen3-vl.md §3.3).
#pragma once

#include <cstddef>
#include <string_view>

#include "text/unicode.h"

namespace squint::text {

// The one pattern that PieceScanner implements, as tokenizer.json spells it.
inline constexpr std::string_view kPiecePattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

// Walks over the pieces of one segment; together they cover all of it.
class PieceScanner {
 public:
  // Valid UTF-8, which must outlive the scanner.
  explicit PieceScanner(std::string_view segment)
      : at_(segment.data()), end_(segment.data() + segment.size()) {}

  bool done() const { return at_ == end_; }
  std::string_view next();  // never empty; only if !done()

 private:
  const CharTable* table_ = &CharTable::instance();
  const char* at_;
  const char* end_;
};

}  // namespace squint::text
