#include "text/byte_pair_encoder.h"

#include <algorithm>
#include <bit>
#include <functional>
#include <queue>

#include "base/check.h"

namespace squint::text {
namespace {

// Up to this many bytes the next merge is found by looking at all pairs: faster than a heap, and
// everything fits on the stack.
constexpr size_t kShortPiece = 64;

uint64_t hash_of(int32_t left, int32_t right) {
  constexpr uint64_t kMultiplier = 0x9e3779b97f4a7c15u;
  return (static_cast<uint64_t>(left) << 32 | static_cast<uint32_t>(right)) * kMultiplier;
}

}  // namespace

BytePairEncoder::BytePairEncoder(const std::array<int32_t, 256>& byte_ids,
                                 std::span<const Merge> merges)
    : byte_ids_(byte_ids) {
  const size_t capacity = std::bit_ceil(merges.size() * 3 / 2 + 2);
  slots_.resize(capacity);
  shift_ = 64 - static_cast<uint32_t>(std::countr_zero(capacity));
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    const Merge& merge = merges[rank];
    SQUINT_CHECK(merge.left >= 0 && merge.right >= 0 && merge.merged >= 0);
    slots_[slot_of(merge.left, merge.right)] = {
        merge.left, merge.right, {static_cast<uint32_t>(rank), merge.merged}};
  }
}

// Where the pair is, or the free slot where it would go.
size_t BytePairEncoder::slot_of(int32_t left, int32_t right) const {
  const size_t mask = slots_.size() - 1;
  size_t slot = hash_of(left, right) >> shift_;
  while (slots_[slot].left != -1 && (slots_[slot].left != left || slots_[slot].right != right)) {
    slot = (slot + 1) & mask;
  }
  return slot;
}

void BytePairEncoder::encode(std::string_view piece, std::vector<int32_t>& ids) const {
  if (piece.size() <= kShortPiece) {
    encode_short(piece, ids);
  } else {
    encode_long(piece, ids);
  }
}

void BytePairEncoder::encode_short(std::string_view piece, std::vector<int32_t>& ids) const {
  std::array<int32_t, kShortPiece> tokens;
  std::array<Candidate, kShortPiece> pairs;  // [i]: tokens i and i + 1
  size_t count = piece.size();
  for (size_t i = 0; i < count; ++i) tokens[i] = byte_ids_[static_cast<uint8_t>(piece[i])];
  for (size_t i = 0; i + 1 < count; ++i) pairs[i] = find(tokens[i], tokens[i + 1]);
  while (count > 1) {
    size_t best = 0;
    for (size_t i = 1; i + 1 < count; ++i) {
      if (pairs[i].rank < pairs[best].rank) best = i;
    }
    if (pairs[best].rank == kNoMerge) break;
    tokens[best] = pairs[best].merged;
    --count;
    for (size_t i = best + 1; i < count; ++i) {
      tokens[i] = tokens[i + 1];
      pairs[i - 1] = pairs[i];
    }
    if (best + 1 < count) pairs[best] = find(tokens[best], tokens[best + 1]);
    if (best > 0) pairs[best - 1] = find(tokens[best - 1], tokens[best]);
  }
  ids.insert(ids.end(), tokens.begin(), tokens.begin() + static_cast<ptrdiff_t>(count));
}

void BytePairEncoder::encode_long(std::string_view piece, std::vector<int32_t>& ids) const {
  constexpr uint32_t kNone = UINT32_MAX;
  SQUINT_CHECK(piece.size() < kNone);
  struct Node {
    int32_t token;
    uint32_t previous, next;
    Candidate pair;  // with next
  };
  const auto count = static_cast<uint32_t>(piece.size());
  std::vector<Node> nodes(count);
  // (rank, position) in one number: the smallest is the lowest rank, leftmost on ties. Entries are
  // not removed when their pair goes away; they no longer agree with the node then.
  std::priority_queue<uint64_t, std::vector<uint64_t>, std::greater<>> queue;
  const auto refresh = [&](uint32_t at) {
    Node& node = nodes[at];
    node.pair = node.next == kNone ? Candidate{} : find(node.token, nodes[node.next].token);
    if (node.pair.rank != kNoMerge) queue.push(static_cast<uint64_t>(node.pair.rank) << 32 | at);
  };
  for (uint32_t i = 0; i < count; ++i) {
    nodes[i] = {byte_ids_[static_cast<uint8_t>(piece[i])],
                i == 0 ? kNone : i - 1,
                i + 1 == count ? kNone : i + 1,
                {}};
  }
  for (uint32_t i = 0; i < count; ++i) refresh(i);

  while (!queue.empty()) {
    const auto at = static_cast<uint32_t>(queue.top());
    const auto rank = static_cast<uint32_t>(queue.top() >> 32);
    queue.pop();
    Node& node = nodes[at];
    if (node.pair.rank != rank) continue;
    Node& gone = nodes[node.next];
    node.token = node.pair.merged;
    node.next = gone.next;
    gone.pair = {};
    if (node.next != kNone) nodes[node.next].previous = at;
    refresh(at);
    if (node.previous != kNone) refresh(node.previous);
  }
  for (uint32_t at = 0; at != kNone; at = nodes[at].next) ids.push_back(nodes[at].token);
}

}  // namespace squint::text
