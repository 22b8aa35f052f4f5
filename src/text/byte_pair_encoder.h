// byte_pair_encoder.h: bytes of a piece to token ids by merging (spec qwen3-vl.md §3.3 step 4).
//
// A piece starts as one token per byte. As long as any neighbours have a merge, the pair of lowest
// rank is replaced by its token, the leftmost on ties. Short pieces are searched linearly, long
// ones through a heap, so that the cost stays O(n log n) in the length of a piece.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace squint::text {

struct Merge {
  int32_t left, right;
  int32_t merged;
};

class BytePairEncoder {
 public:
  // byte_ids: the token of each single byte. merges: in the order of rank; where a pair appears
  // twice the later one counts. All ids are >= 0.
  BytePairEncoder(const std::array<int32_t, 256>& byte_ids, std::span<const Merge> merges);

  // Appends the tokens of the piece to ids.
  void encode(std::string_view piece, std::vector<int32_t>& ids) const;

 private:
  static constexpr uint32_t kNoMerge = UINT32_MAX;
  struct Candidate {
    uint32_t rank = kNoMerge;
    int32_t merged = -1;
  };
  struct Slot {
    int32_t left = -1;  // -1: free
    int32_t right = -1;
    Candidate candidate;
  };
  size_t slot_of(int32_t left, int32_t right) const;
  Candidate find(int32_t left, int32_t right) const {
    return slots_[slot_of(left, right)].candidate;
  }
  void encode_short(std::string_view piece, std::vector<int32_t>& ids) const;
  void encode_long(std::string_view piece, std::vector<int32_t>& ids) const;

  std::array<int32_t, 256> byte_ids_;
  std::vector<Slot> slots_;  // open addressing by the pair; a power of two, never full
  uint32_t shift_ = 0;       // 64 - log2(slots)
};

}  // namespace squint::text
