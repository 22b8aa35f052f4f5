// added_tokens.h: tokens that are found in the raw text before anything else happens to it
// (spec qwen3-vl.md §3.3 step 1, §3.4).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace squint::text {

struct AddedToken {
  std::string content;  // not empty
  int32_t id = 0;
  bool special = false;  // left out when decoding with special tokens skipped
};

class AddedTokens {
 public:
  // Ids and contents are distinct; the reader of the file has checked.
  explicit AddedTokens(std::vector<AddedToken> tokens);

  struct Match {
    size_t begin;
    const AddedToken* token;
  };
  // The first position from `from` on where a token begins, and the longest token there.
  std::optional<Match> find(std::string_view text, size_t from) const;

  const AddedToken* by_id(int32_t id) const;
  const AddedToken* by_content(std::string_view content) const;
  int32_t size() const { return size_; }  // largest id + 1, 0 without tokens

 private:
  std::vector<AddedToken> tokens_;                     // by first byte, then longest first
  std::array<uint32_t, 257> first_of_byte_{};          // range of tokens_ that begin with a byte
  std::unordered_map<int32_t, uint32_t> index_of_id_;  // into tokens_
  int32_t size_ = 0;
};

}  // namespace squint::text
