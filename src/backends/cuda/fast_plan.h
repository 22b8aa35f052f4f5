// fast_plan.h: which kernel of fast mode takes a product, and how it is cut. Pure functions of
// sizes, so that they are tested without a card.
#pragma once

#include <algorithm>
#include <cstdint>

namespace squint::cuda {

struct CardLimits {
  int multiprocessors;
  int shared_per_block;  // bytes that a block may ask for
  int shared_per_multiprocessor;
  bool hopper_attention = false;  // that its kernel was compiled for it
};

enum class Product : uint8_t {
  exact,     // float32 by float32: nothing is gained by rounding
  few_rows,  // weights unpacked on their way to the tensor cores, eight rows at a time
  matrix     // weights unpacked in memory, then a product of matrices
};

// Up to where reading the weight again for every eight rows costs less than unpacking it: for int4
// that is written and read again as four times the bytes.
constexpr int64_t kFewRowsAtATime = 8;
constexpr int64_t kMostFewRows = 32;

struct ProductShape {
  int64_t rows;
  bool float32;   // the weight
  bool tiled;     // which exact kernels cannot read
  bool readable;  // by few_rows: its groups are whole tiles
  bool matrices;  // there is a library for products of matrices
};
inline Product choose_product(const ProductShape& s) {
  if (s.float32) return Product::exact;
  if (s.readable && (s.rows <= kMostFewRows || !s.matrices)) return Product::few_rows;
  return (s.tiled || s.rows > kFewRowsAtATime) && s.matrices ? Product::matrix : Product::exact;
}

// Bounds of the workspace: rows of x, and rows of the weight, that are taken at a time.
constexpr int64_t kMostRoundedBytes = int64_t{64} << 20;
constexpr int64_t kMostUnpackedBytes = int64_t{128} << 20;
constexpr int64_t kMostTemporaryBytes = int64_t{128} << 20;
// At least one multiple of `unit`; all where they fit.
inline int64_t rows_at_a_time(int64_t rows, int64_t row_bytes, int64_t most_bytes, int64_t unit) {
  const int64_t fitting = most_bytes / std::max<int64_t>(row_bytes, 1) / unit * unit;
  return std::min(rows, std::max(fitting, unit));
}

// A block of few_rows: its warps share x of one slice of the columns and cut the slice among
// themselves, in units of 64 or 128 columns; tiles of 16 outputs follow each other, the next one's
// weights on their way while the last one's sums are joined.
constexpr int kFewRowsWarps = 16;
constexpr int kMostSplitTiles = 4096;

struct FewRowsShape {
  int rows;
  int tiles;  // of 16 outputs
  int units;
  int streams;  // weights multiplied side by side
  int unit_columns;
  int unit_bytes;       // of shared memory, of 16 outputs with their scales
  int padding_bytes;    // behind a row of x
  int64_t most_splits;  // sums of 16 outputs by `rows` that the workspace holds
};

struct FewRowsPlan {
  int rows;    // at a time
  int splits;  // of the columns, over blocks
  int blocks;  // for each split
  int stages;  // units on their way to a warp: 2, 4 or 6
  int team;    // warps that share a tile: 4, 8 or 16
  int x_bytes;
  int sum_bytes;  // of one of two buffers
  int shared_bytes;
};

inline int few_rows_slice(const FewRowsShape& s, int splits) {
  return (s.units + splits - 1) / splits;
}

// One block a multiprocessor, and, if it can be, room beside it for one of the next launch, which
// asks for its first weights while this one ends.
inline FewRowsPlan plan_few_rows(FewRowsShape s, const CardLimits& card) {
  struct Choice {
    int share;
    int stages;
  };
  constexpr Choice kChoices[] = {{2, 4}, {1, 6}, {1, 4}, {2, 2}, {1, 2}};
  constexpr int kReserved = 1 << 10;  // bytes of a block: the card's own, and what is not dynamic
  constexpr int kMostCuts = 64;
  int splits = 1;
  // Narrow layers: what a single row of tiles leaves idle.
  if (s.tiles < card.multiprocessors) {
    const int wanted = (card.multiprocessors + s.tiles / 2) / s.tiles;
    splits = std::clamp(std::min(wanted, s.units / kFewRowsWarps), 1, kMostCuts);
  }
  for (;;) {
    const bool held = splits == 1 || (s.tiles <= kMostSplitTiles &&
                                      int64_t{s.tiles} * splits * s.streams <= s.most_splits);
    const int slice = few_rows_slice(s, splits);
    // Rows, one of zeros, and eight sums a unit.
    const int x =
        s.rows * (slice * s.unit_columns * 2 + s.padding_bytes) + s.unit_columns * 2 + slice * 32;
    const int sums = kFewRowsWarps * s.streams * 16 * s.rows * 4;
    for (const Choice& c : kChoices) {
      const int room =
          std::min(card.shared_per_block, card.shared_per_multiprocessor / c.share) - kReserved;
      const int bytes = x + 2 * sums + c.stages * kFewRowsWarps * s.unit_bytes;
      if (!held || bytes > room) continue;
      const int blocks = std::min(s.tiles, std::max(1, card.multiprocessors / splits));
      // The fewer share a tile, the fewer sums are joined; but every warp has to have one. A team
      // has a thread for each value of a tile.
      const int each = s.tiles / blocks;
      const int team = each >= 3 ? 4 : each >= 2 ? 8 : 16;
      return {s.rows, splits, blocks, c.stages, team, x, sums, bytes};
    }
    if (held && splits < std::min(kMostCuts, s.units)) {
      ++splits;
      continue;
    }
    if (s.rows == 1) return {};  // a row too long for this card: no stages
    s.rows = (s.rows + 1) / 2;
    splits = 1;
  }
}

// Tokens of a sequence up to which attention reads the cache once for all of them.
constexpr int64_t kMostDecodeTokens = 4;

// Attention of few queries: keys of a block, whole pieces of 32. `rows` of blocks are there
// already: heads of keys, and slices.
constexpr int kDecodePiece = 32;
constexpr int kMostDecodeSplits = 128;
// Up to which length a recorded step serves caches of `length` keys, however it is cut: not for
// every token another one.
inline int64_t decode_reach(int64_t length) {
  int64_t reach = kDecodePiece;
  while (reach < length) reach *= 2;
  return reach;
}
inline int decode_splits(int64_t longest, int64_t rows, int multiprocessors) {
  const int64_t pieces = std::max<int64_t>((longest + kDecodePiece - 1) / kDecodePiece, 1);
  // Four blocks for each multiprocessor keep it reading; splits of one piece only make more to
  // join.
  const int64_t wanted = std::max<int64_t>(4 * multiprocessors / std::max<int64_t>(rows, 1), 1);
  const int64_t joined = std::max<int64_t>(32, pieces / 4);
  const int64_t splits = std::min({pieces, wanted, joined, int64_t{kMostDecodeSplits}});
  const int64_t each = (pieces + splits - 1) / splits;
  return static_cast<int>((pieces + each - 1) / each);
}

// Attention of many: its kernel is compiled for these widths of heads, which are padded to the
// next.
inline int prefill_width(int64_t head_dim) {
  return head_dim <= 32 ? 32 : head_dim <= 64 ? 64 : head_dim <= 80 ? 80 : 128;
}

// A block's shared memory: two buffers of 64 keys and of as many values, and the queries of four
// warps in tiles of 16; rows of bf16 with 16 bytes between them.
constexpr int prefill_bytes(int width, int tiles) {
  return (4 * 64 + 4 * 16 * tiles) * (width + 8) * 2;
}

// Tiles of queries for each warp. One for short prompts, so that every multiprocessor has two
// blocks, and where two do not fit.
inline int prefill_tiles(int64_t tokens, int64_t heads, int64_t head_dim, const CardLimits& card) {
  const bool short_one = (tokens + 127) / 128 * heads < 2 * card.multiprocessors;
  const bool fits = prefill_bytes(prefill_width(head_dim), 2) <= card.shared_per_block;
  return short_one || !fits ? 1 : 2;
}

// Queries of a block of the kernel for Hopper; fewer leave much of it idle. Heads of 72 were slower
// with it than with the other.
constexpr int kHopperQueries = 128;
constexpr int kHopperWidth = 128;
inline bool hopper_attention_applies(int64_t tokens, int64_t head_dim, const CardLimits& card) {
  return card.hopper_attention && prefill_width(head_dim) == kHopperWidth &&
         tokens >= 2 * kHopperQueries;
}

}  // namespace squint::cuda
