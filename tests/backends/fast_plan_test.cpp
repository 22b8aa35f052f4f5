// How the card's fast mode cuts products: from sizes alone, on any machine.
#include "backends/cuda/fast_plan.h"

#include <gtest/gtest.h>

namespace squint::cuda {
namespace {

constexpr CardLimits kLarge{132, 227 << 10, 228 << 10};  // sm_90
constexpr CardLimits kSmall{84, 99 << 10, 100 << 10};    // sm_86
constexpr int kInt4Unit = 1088;
constexpr int kBf16Unit = 2048;

FewRowsShape shape(int rows, int tiles, int pieces, int unit_bytes = kInt4Unit) {
  const int width = unit_bytes == kInt4Unit ? 2 : 1;
  return {rows,       tiles, (pieces + width - 1) / width, 1, 64 * width,
          unit_bytes, 64,    (1 << 20) / (16 * rows)};
}

TEST(ChooseProduct, ByRowsAndForm) {
  const auto choose = [](int64_t rows, bool float32, bool readable, bool matrices) {
    return choose_product({rows, float32, false, readable, matrices});
  };
  EXPECT_EQ(choose(1, false, true, true), Product::few_rows);
  EXPECT_EQ(choose(kMostFewRows, false, true, true), Product::few_rows);
  EXPECT_EQ(choose(kMostFewRows + 1, false, true, true), Product::matrix);
  EXPECT_EQ(choose(1000, false, true, false), Product::few_rows) << "no cuBLAS";
  EXPECT_EQ(choose(1, false, false, true), Product::exact) << "groups of 32";
  EXPECT_EQ(choose(9, false, false, true), Product::matrix);
  EXPECT_EQ(choose(1000, false, false, false), Product::exact);
  EXPECT_EQ(choose(1000, true, false, true), Product::exact) << "float32 stays float32";
}

TEST(PlanFewRows, AWideLayerFillsTheCard) {
  const FewRowsPlan plan = plan_few_rows(shape(1, 768, 64), kLarge);
  EXPECT_EQ(plan.rows, 1);
  EXPECT_EQ(plan.splits, 1);
  EXPECT_EQ(plan.blocks, 132);
  EXPECT_EQ(plan.stages, 4);
  EXPECT_LE(plan.shared_bytes, kLarge.shared_per_multiprocessor / 2) << "beside the next one";
}

TEST(PlanFewRows, ANarrowLayerIsSplit) {
  const FewRowsPlan plan = plan_few_rows(shape(1, 64, 64), kLarge);
  EXPECT_EQ(plan.splits, 2);
  EXPECT_EQ(plan.blocks, 64);
}

TEST(PlanFewRows, EverythingFitsWhereverItRuns) {
  for (const CardLimits& card : {kLarge, kSmall}) {
    for (const int rows : {1, 2, 3, 5, 8}) {
      for (const int tiles : {1, 5, 256, 768, 9496}) {
        for (const int pieces : {1, 2, 18, 64, 192, 450}) {
          for (const int unit_bytes : {kInt4Unit, kBf16Unit}) {
            const FewRowsShape s = shape(rows, tiles, pieces, unit_bytes);
            const FewRowsPlan plan = plan_few_rows(s, card);
            if (pieces == 450 && plan.stages == 0) continue;  // refused: a row of 28,800
            ASSERT_GE(plan.stages, 2) << rows << " " << tiles << " " << pieces;
            ASSERT_LE(plan.stages, 6);
            ASSERT_LE(plan.shared_bytes, card.shared_per_block);
            ASSERT_GE(plan.rows, 1);
            ASSERT_LE(plan.rows, rows);
            ASSERT_GE(plan.blocks, 1);
            ASSERT_LE(plan.blocks, tiles);
            ASSERT_LE(plan.splits, s.units);
            if (plan.splits > 1) {
              ASSERT_LE(tiles, kMostSplitTiles);
              ASSERT_LE(int64_t{tiles} * plan.splits, s.most_splits);
            }
            EXPECT_EQ(plan_few_rows(s, card).shared_bytes, plan.shared_bytes);
          }
        }
      }
    }
  }
}

TEST(RowsAtATime, WholeUnitsAndNeverNone) {
  EXPECT_EQ(rows_at_a_time(100, 10, 1000, 16), 96);
  EXPECT_EQ(rows_at_a_time(50, 10, 1000, 16), 50);
  EXPECT_EQ(rows_at_a_time(100, 10, 20, 16), 16);
  EXPECT_EQ(rows_at_a_time(0, 10, 20, 1), 0);
}

TEST(DecodeSplits, ShortCachesAreWholeAndLongOnesFillTheCard) {
  EXPECT_EQ(decode_splits(1, 8, 132), 1);
  EXPECT_EQ(decode_splits(32, 8, 132), 1);
  EXPECT_EQ(decode_splits(512, 8, 132), 16);
  EXPECT_EQ(decode_splits(512, 2048, 132), 1);
  for (const int64_t length : {1, 63, 65, 1000, 40000}) {
    const int splits = decode_splits(length, 8, 132);
    const int64_t pieces = (length + kDecodePiece - 1) / kDecodePiece;
    const int64_t each = (pieces + splits - 1) / splits;
    EXPECT_LE(splits, kMostDecodeSplits);
    EXPECT_LT((splits - 1) * each, pieces) << "no split is empty at " << length;
  }
}

TEST(DecodeReach, Doubles) {
  EXPECT_EQ(decode_reach(1), 32);
  EXPECT_EQ(decode_reach(32), 32);
  EXPECT_EQ(decode_reach(33), 64);
  EXPECT_EQ(decode_reach(2049), 4096);
}

TEST(HopperAttention, LongPromptsOfWideHeadsWhereItWasCompiled) {
  CardLimits card = kLarge;
  EXPECT_FALSE(hopper_attention_applies(2048, 128, card));
  card.hopper_attention = true;
  EXPECT_TRUE(hopper_attention_applies(2048, 128, card));
  EXPECT_FALSE(hopper_attention_applies(100, 128, card));
  EXPECT_FALSE(hopper_attention_applies(4096, 72, card));
}

TEST(PrefillTiles, ShortPromptsTakeSmallBlocks) {
  EXPECT_EQ(prefill_tiles(100, 32, 128, kLarge), 1);
  EXPECT_EQ(prefill_tiles(2048, 32, 128, kLarge), 2);
  EXPECT_EQ(prefill_tiles(2048, 32, 128, kSmall), 1) << "where two do not fit";
  EXPECT_EQ(prefill_tiles(4096, 16, 72, kSmall), 2);
  for (const int width : {32, 64, 80, 128}) {
    EXPECT_LE(prefill_bytes(width, 1), kSmall.shared_per_block);
  }
}

}  // namespace
}  // namespace squint::cuda
