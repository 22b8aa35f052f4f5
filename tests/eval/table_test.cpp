#include "eval/table.h"

#include <gtest/gtest.h>

#include "squint/error.h"

namespace squint::eval {
namespace {

TEST(Table, AlignsByColumnsOnTheScreen) {
  Table table({"Name", "n"});
  table.add({{"\u4E2D\u6587"}, {"1"}});
  table.add({{"e\u0301a"}, {"1000"}});
  EXPECT_EQ(table.render(80, false), "Name     n\n\u4E2D\u6587     1\ne\u0301a    1000\n");
}

TEST(Table, TheFirstColumnGivesWay) {
  Table table({"Name", "n"});
  EXPECT_TRUE(table.empty());
  table.add({{"abcdefghij"}, {"12"}});
  EXPECT_FALSE(table.empty());
  EXPECT_EQ(table.render(10, false), "Name     n\nabcde\u2026  12\n");
}

TEST(Table, ColoursDoNotMoveColumns) {
  Table table({"Name", "n"});
  table.add({{"a", Paint::bold}, {"1", Paint::red}});
  EXPECT_EQ(table.render(80, true),
            "\x1b[2mName\x1b[0m  \x1b[2mn\x1b[0m\n\x1b[1ma\x1b[0m     \x1b[31m1\x1b[0m\n");
}

TEST(Table, LinesDoNotEndInSpaces) {
  Table table({"Name", "n"});
  table.add({{"a"}, {""}});
  EXPECT_EQ(table.render(80, false), "Name  n\na\n");
  EXPECT_THROW(table.add({{"a"}}), InternalError);
}

TEST(Wrapped, BreaksBetweenWords) {
  EXPECT_EQ(wrapped("ab cd  ef gh", 7, 2), "ab cd\n  ef gh\n");
  EXPECT_EQ(wrapped("ab cd", 6, 2), "ab\n  cd\n");
  EXPECT_EQ(wrapped("abcdefgh ij", 6, 2), "abc\u2026\n  ij\n");
  EXPECT_EQ(wrapped("", 6, 2), "\n");
}

}  // namespace
}  // namespace squint::eval
