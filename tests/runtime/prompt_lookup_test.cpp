#include "runtime/prompt_lookup.h"

#include <gtest/gtest.h>

namespace squint::runtime {
namespace {

using Ids = std::vector<int32_t>;

PromptLookup lookup_of(const Ids& text) { return PromptLookup(text); }

TEST(PromptLookup, GoesOnAsBefore) {
  PromptLookup lookup = lookup_of({1, 2, 3, 4, 5, 6, 1, 2, 3});
  EXPECT_EQ(lookup.guess(2), (Ids{4, 5}));
  EXPECT_EQ(lookup.guess(100), (Ids{4, 5, 6, 1, 2, 3}));
}

TEST(PromptLookup, TheLastPlaceCounts) {
  EXPECT_EQ(lookup_of({1, 2, 3, 4, 1, 2, 3, 5, 1, 2, 3}).guess(1), (Ids{5}));
}

TEST(PromptLookup, WhatIsSaidCountsAsWell) {
  PromptLookup lookup = lookup_of({9});
  for (const int32_t id : {7, 7, 7}) lookup.append(id);
  EXPECT_EQ(lookup.guess(3), Ids{});
  lookup.append(7);
  EXPECT_EQ(lookup.guess(3), (Ids{7}));
}

TEST(PromptLookup, NothingAlikeNothingGuessed) {
  EXPECT_EQ(lookup_of({}).guess(4), Ids{});
  EXPECT_EQ(lookup_of({1, 2, 3}).guess(4), Ids{});
  EXPECT_EQ(lookup_of({1, 2, 9, 2, 3, 8, 1, 2, 3}).guess(4), Ids{});
  EXPECT_EQ(lookup_of({1, 2, 3, 4, 1, 2, 3}).guess(0), Ids{});
}

// Of a thousand steps no more than a few are lost where guesses are always wrong.
TEST(PromptLookup, WrongGuessesBecomeRare) {
  PromptLookup lookup = lookup_of({1, 2, 3, 4, 1, 2, 3});
  int guesses = 0;
  for (int step = 0; step < 1000; ++step) {
    if (lookup.guess(1).empty()) continue;
    ++guesses;
    lookup.judge(0);
  }
  EXPECT_GT(guesses, 2);
  EXPECT_LT(guesses, 15);
}

TEST(PromptLookup, ARightGuessEndsThePause) {
  PromptLookup lookup = lookup_of({1, 2, 3, 4, 1, 2, 3});
  for (int wrong = 0; wrong < 4; ++wrong) {
    while (lookup.guess(1).empty()) continue;
    lookup.judge(0);
  }
  while (lookup.guess(1).empty()) continue;
  lookup.judge(1);
  EXPECT_EQ(lookup.guess(1), (Ids{4}));
}

}  // namespace
}  // namespace squint::runtime
