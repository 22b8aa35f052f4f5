#include "text/added_tokens.h"

#include <gtest/gtest.h>

namespace squint::text {
namespace {

AddedTokens tokens() {
  return AddedTokens({{"<a", 10, true}, {"<a><b>", 11, false}, {"<a>", 12, true}, {"é", 3, false}});
}

TEST(AddedTokens, LeftmostThenLongest) {
  const AddedTokens added = tokens();
  const auto match_id = [&](std::string_view text, size_t from = 0) {
    const auto match = added.find(text, from);
    return match ? std::pair(match->begin, match->token->id) : std::pair(text.size(), -1);
  };
  EXPECT_EQ(match_id("x<a><b>"), (std::pair<size_t, int>{1, 11}));
  EXPECT_EQ(match_id("x<a><c>"), (std::pair<size_t, int>{1, 12}));
  EXPECT_EQ(match_id("<a"), (std::pair<size_t, int>{0, 10}));
  EXPECT_EQ(match_id("<a<a>"), (std::pair<size_t, int>{0, 10}));
  EXPECT_EQ(match_id("<a<a>", 1), (std::pair<size_t, int>{2, 12}));
  EXPECT_EQ(match_id("<é"), (std::pair<size_t, int>{1, 3}));
  EXPECT_EQ(match_id("\xc3<"), (std::pair<size_t, int>{2, -1}));
  EXPECT_EQ(match_id(""), (std::pair<size_t, int>{0, -1}));
  EXPECT_EQ(match_id("<a>", 3), (std::pair<size_t, int>{3, -1}));
}

TEST(AddedTokens, ByIdAndContent) {
  const AddedTokens added = tokens();
  EXPECT_EQ(added.size(), 13);
  EXPECT_EQ(added.by_id(11)->content, "<a><b>");
  EXPECT_EQ(added.by_id(4), nullptr);
  EXPECT_EQ(added.by_content("<a>")->id, 12);
  EXPECT_TRUE(added.by_content("<a>")->special);
  for (const std::string_view none : {"", "<", "<a>x", "x<a>", "<a><b"}) {
    EXPECT_EQ(added.by_content(none), nullptr) << none;
  }
  EXPECT_EQ(AddedTokens({}).size(), 0);
  EXPECT_FALSE(AddedTokens({}).find("<a>", 0));
}

}  // namespace
}  // namespace squint::text
