#include "text/byte_pair_encoder.h"

#include <gtest/gtest.h>

#include <map>
#include <numeric>
#include <random>
#include <string>

namespace squint::text {
namespace {

std::array<int32_t, 256> identity() {
  std::array<int32_t, 256> ids{};
  std::iota(ids.begin(), ids.end(), 0);
  return ids;
}

std::vector<int32_t> encode(const BytePairEncoder& encoder, std::string_view piece) {
  std::vector<int32_t> ids;
  encoder.encode(piece, ids);
  return ids;
}

// The definition, without any cleverness.
std::vector<int32_t> encode_plainly(std::span<const Merge> merges, std::string_view piece) {
  std::map<std::pair<int32_t, int32_t>, std::pair<size_t, int32_t>> table;
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    table[{merges[rank].left, merges[rank].right}] = {rank, merges[rank].merged};
  }
  std::vector<int32_t> ids;
  for (const char c : piece) ids.push_back(static_cast<uint8_t>(c));
  while (true) {
    std::pair<size_t, int32_t> best = {SIZE_MAX, 0};
    size_t at = 0;
    for (size_t i = 0; i + 1 < ids.size(); ++i) {
      const auto found = table.find({ids[i], ids[i + 1]});
      if (found == table.end() || found->second.first >= best.first) continue;
      best = found->second;
      at = i;
    }
    if (best.first == SIZE_MAX) return ids;
    ids[at] = best.second;
    ids.erase(ids.begin() + static_cast<ptrdiff_t>(at) + 1);
  }
}

TEST(BytePairEncoder, WithoutMergesEveryByteIsAToken) {
  const BytePairEncoder encoder(identity(), {});
  EXPECT_EQ(encode(encoder, "a\xff"), (std::vector<int32_t>{'a', 0xff}));
  EXPECT_EQ(encode(encoder, ""), std::vector<int32_t>{});
  EXPECT_EQ(encode(encoder, std::string(1000, 'x')), std::vector<int32_t>(1000, 'x'));
}

TEST(BytePairEncoder, RankDecidesThenPosition) {
  const std::vector<Merge> merges = {{'b', 'c', 300}, {'a', 'b', 301}, {'a', 'a', 302}};
  const BytePairEncoder encoder(identity(), merges);
  EXPECT_EQ(encode(encoder, "abc"), (std::vector<int32_t>{'a', 300}));
  EXPECT_EQ(encode(encoder, "abb"), (std::vector<int32_t>{301, 'b'}));
  EXPECT_EQ(encode(encoder, "aaa"), (std::vector<int32_t>{302, 'a'}));
}

TEST(BytePairEncoder, OfARepeatedMergeTheLaterOneCounts) {
  const std::vector<Merge> merges = {{'a', 'b', 300}, {'b', 'c', 301}, {'a', 'b', 300}};
  const BytePairEncoder encoder(identity(), merges);
  EXPECT_EQ(encode(encoder, "abc"), (std::vector<int32_t>{'a', 301}));
}

TEST(BytePairEncoder, ShortAndLongPiecesFollowTheDefinition) {
  std::mt19937 random(3);
  for (int round = 0; round < 40; ++round) {
    std::vector<int32_t> known = {'a', 'b', 'c'};
    std::vector<Merge> merges;
    for (int32_t id = 256; id < 256 + 60; ++id) {
      merges.push_back({known[random() % known.size()], known[random() % known.size()], id});
      known.push_back(id);
    }
    const BytePairEncoder encoder(identity(), merges);
    for (const size_t length : {1u, 2u, 3u, 7u, 30u, 63u, 64u, 65u, 66u, 200u, 700u}) {
      std::string piece;
      const auto letters = 1 + random() % 3;
      while (piece.size() < length) piece += static_cast<char>('a' + random() % letters);
      ASSERT_EQ(encode(encoder, piece), encode_plainly(merges, piece))
          << "seed 3, round " << round << ", " << piece;
    }
  }
}

// Quadratic time would be hours.
TEST(BytePairEncoder, AVeryLongPiece) {
  std::vector<Merge> merges = {{'a', 'a', 256}};
  for (int32_t id = 256; id < 266; ++id) merges.push_back({id, id, id + 1});
  const BytePairEncoder encoder(identity(), merges);
  EXPECT_EQ(encode(encoder, std::string(2048 * 1000, 'a')), std::vector<int32_t>(1000, 266));
}

}  // namespace
}  // namespace squint::text
