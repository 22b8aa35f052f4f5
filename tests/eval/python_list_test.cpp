#include "eval/python_list.h"

#include <gtest/gtest.h>

#include "io/error_of.h"

namespace squint::eval {
namespace {

using Strings = std::vector<std::string>;

Strings of(std::string_view cell) { return python_strings(cell, "t.tsv line 3"); }

TEST(PythonList, Strings) {
  EXPECT_EQ(of("['164', '39']"), (Strings{"164", "39"}));
  EXPECT_EQ(of(" [ \"it's\" ,u'b',] "), (Strings{"it's", "b"}));
  EXPECT_EQ(of("[]"), Strings{});
  EXPECT_EQ(of("plain, as it stands"), Strings{"plain, as it stands"});
  EXPECT_EQ(of(""), Strings{""});
}

TEST(PythonList, Escapes) {
  EXPECT_EQ(of(R"(['y _ { 2 } = - 1\n', '\\frac'])"), (Strings{"y _ { 2 } = - 1\n", "\\frac"}));
  EXPECT_EQ(of(R"(['\'\"\t\x41\u00e9\U0001F600\101\0'])"),
            Strings{std::string("'\"\tA\u00e9\U0001F600A\0", 12)});
  EXPECT_EQ(of(R"(['\d\ {'])"), Strings{R"(\d\ {)"});
}

TEST(PythonList, WhatIsNoListOfStringsIsNamed) {
  for (const char* cell : {"[", "['a'", "['a' 'b']", "[1]", "['a]", "['a'] x", R"(['\x4'])",
                           R"(['\ud800'])", R"(['\U00110000'])", "[['a']]", "['a\\"}) {
    const std::string message = test::error_of(ErrorCode::bad_input, [&] { of(cell); });
    EXPECT_TRUE(test::says(message, "t.tsv line 3: a Python list of strings should have")) << cell;
  }
}

}  // namespace
}  // namespace squint::eval
