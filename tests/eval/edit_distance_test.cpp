#include "eval/edit_distance.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

namespace squint::eval {
namespace {

// The table as in the textbook; the first row is free when searching.
std::pair<int64_t, int64_t> by_table(std::u32string_view pattern, std::u32string_view text,
                                     bool search) {
  std::vector<int64_t> column(pattern.size() + 1);
  for (size_t i = 0; i < column.size(); ++i) column[i] = static_cast<int64_t>(i);
  int64_t least = column.back();
  for (size_t j = 1; j <= text.size(); ++j) {
    int64_t diagonal = column[0];
    column[0] = search ? 0 : static_cast<int64_t>(j);
    for (size_t i = 1; i < column.size(); ++i) {
      const int64_t replaced = diagonal + (pattern[i - 1] == text[j - 1] ? 0 : 1);
      diagonal = column[i];
      column[i] = std::min({replaced, column[i] + 1, column[i - 1] + 1});
    }
    least = std::min(least, column.back());
  }
  return {column.back(), least};
}

TEST(EditDistance, KnownPairs) {
  EXPECT_EQ(edit_distance(U"kitten", U"sitting"), 3);
  EXPECT_EQ(edit_distance(U"", U"abc"), 3);
  EXPECT_EQ(edit_distance(U"abc", U""), 3);
  EXPECT_EQ(edit_distance(U"", U""), 0);
  EXPECT_EQ(best_window_distance(U"tinsel", U"it reads tinse1 today"), 1);
  EXPECT_EQ(best_window_distance(U"abc", U""), 3);
  EXPECT_EQ(best_window_distance(U"", U"abc"), 0);
}

TEST(EditDistance, CountsCharactersNotBytes) {
  EXPECT_DOUBLE_EQ(normalized_edit_distance("caf\u00E9", "cafe"), 0.25);
  EXPECT_DOUBLE_EQ(normalized_edit_distance("", ""), 0);
  EXPECT_DOUBLE_EQ(normalized_edit_distance("", "ab"), 1);
  EXPECT_DOUBLE_EQ(normalized_edit_distance("\x80", "\x81"), 1);
}

// Lengths around multiples of 64 are where the blocks meet.
TEST(EditDistance, AgreesWithTheTable) {
  std::mt19937 random(7);  // seed 7
  for (const size_t length : {1u, 2u, 31u, 63u, 64u, 65u, 127u, 128u, 129u, 200u}) {
    for (const size_t other : {1u, 5u, 64u, 100u, 193u}) {
      for (const uint32_t letters : {2u, 4u}) {
        std::u32string a(length, U'a');
        std::u32string b(other, U'a');
        for (char32_t& c : a) c += random() % letters;
        for (char32_t& c : b) c += random() % letters;
        EXPECT_EQ(edit_distance(a, b), by_table(a, b, false).first) << length << " " << other;
        EXPECT_EQ(edit_distance(a, b), edit_distance(b, a));
        EXPECT_EQ(best_window_distance(a, b), by_table(a, b, true).second)
            << length << " " << other;
      }
    }
  }
}

}  // namespace
}  // namespace squint::eval
