// vocabulary.h: the strings of the base vocabulary, by id and by content.
//
// Tokens are kept as the raw bytes they stand for. tokenizer.json spells each byte as one printable
// code point (spec qwen3-vl.md §3.2, "byte alphabet"): 0x21-0x7E, 0xA1-0xAC and 0xAE-0xFF as
// themselves, the other 68 in increasing order as U+0100, U+0101, ...
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace squint::text {

// Ids from here on are refused: tables are indexed by id, and a file could ask for any size.
inline constexpr int32_t kMaxTokens = 1 << 21;

// Appends the bytes of a token, spelled as in tokenizer.json, to `bytes`. False, with `bytes` in an
// unspecified state, if a character is not of the byte alphabet.
bool append_spelled_bytes(std::string_view spelling, std::string& bytes);

class Vocabulary {
 public:
  struct Entry {
    std::string bytes;  // not empty
    int32_t id;         // 0 <= id < kMaxTokens
  };
  // In any order, with any gaps. Throws Error(bad_input), starting with `where`, if two entries
  // share an id or their bytes.
  Vocabulary(const std::vector<Entry>& entries, std::string_view where);

  int32_t size() const { return static_cast<int32_t>(begins_.size()) - 1; }  // largest id + 1
  // Empty for an id out of range or without an entry.
  std::string_view bytes(int32_t id) const {
    if (id < 0 || id >= size()) return {};
    const auto i = static_cast<size_t>(id);
    return std::string_view(bytes_).substr(begins_[i], begins_[i + 1] - begins_[i]);
  }
  std::optional<int32_t> find(std::string_view bytes) const;

 private:
  size_t slot_of(std::string_view bytes) const;

  std::string bytes_;             // of all tokens in the order of their ids
  std::vector<uint32_t> begins_;  // [size + 1] where each token begins in bytes_
  std::vector<int32_t> slots_;    // ids by hash of the bytes, open addressing; -1: free
};

}  // namespace squint::text
