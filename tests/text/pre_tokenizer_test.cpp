#include "text/pre_tokenizer.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

// GCC 12 with a sanitizer warns inside <regex> without cause (GCC bug 105562).
#pragma GCC diagnostic push
#ifndef __clang__
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <regex>
#pragma GCC diagnostic pop

namespace squint::text {
namespace {

using Pieces = std::vector<std::string>;

Pieces pieces(std::string_view text) {
  Pieces out;
  for (PieceScanner scanner(text); !scanner.done();) out.emplace_back(scanner.next());
  return out;
}

TEST(PreTokenizer, Contractions) {
  EXPECT_EQ(pieces("I'm we'LL"), (Pieces{"I", "'m", " we", "'LL"}));
  EXPECT_EQ(pieces("'sat"), (Pieces{"'s", "at"}));
  EXPECT_EQ(pieces("'lat"), (Pieces{"'lat"}));    // not a contraction: a prefix and letters
  EXPECT_EQ(pieces(" 's"), (Pieces{" '", "s"}));  // the space takes the apostrophe along
  EXPECT_EQ(pieces("'r"), (Pieces{"'r"}));
  EXPECT_EQ(pieces("'"), (Pieces{"'"}));
  EXPECT_EQ(pieces("'ſab"), (Pieces{"'ſ", "ab"}));  // the long s folds to s
  EXPECT_EQ(pieces("'éa"), (Pieces{"'éa"}));
}

TEST(PreTokenizer, LettersTakeOneCharacterInFront) {
  EXPECT_EQ(pieces("a.b"), (Pieces{"a", ".b"}));
  EXPECT_EQ(pieces("((b"), (Pieces{"((", "b"}));
  EXPECT_EQ(pieces("\tx\u00a0y\u3000你"), (Pieces{"\tx", "\u00a0y", "\u3000你"}));
  EXPECT_EQ(pieces("\nx"), (Pieces{"\n", "x"}));
  EXPECT_EQ(pieces("你好，世界！"), (Pieces{"你好", "，世界", "！"}));
}

TEST(PreTokenizer, EveryDigitIsAPiece) {
  EXPECT_EQ(pieces("x12 3"), (Pieces{"x", "1", "2", " ", "3"}));
  EXPECT_EQ(pieces("½Ⅷ"), (Pieces{"½", "Ⅷ"}));
}

TEST(PreTokenizer, MarksAreNoLetters) {
  EXPECT_EQ(pieces("हिन्दी"), (Pieces{"ह", "िन", "्द", "ी"}));
  EXPECT_EQ(pieces("👩\u200d💻 code"), (Pieces{"👩\u200d💻", " code"}));
}

TEST(PreTokenizer, Whitespace) {
  EXPECT_EQ(pieces("  \n  x"), (Pieces{"  \n", " ", " x"}));
  EXPECT_EQ(pieces("a \n \r\n  "), (Pieces{"a", " \n \r\n", "  "}));
  EXPECT_EQ(pieces("a   1"), (Pieces{"a", "  ", " ", "1"}));
  EXPECT_EQ(pieces("a   "), (Pieces{"a", "   "}));
  EXPECT_EQ(pieces("a\u3000\u3000."), (Pieces{"a", "\u3000", "\u3000", "."}));
  EXPECT_EQ(pieces(" ;\n\n x"), (Pieces{" ;\n\n", " x"}));
  EXPECT_EQ(pieces(""), Pieces{});
}

// The pattern itself, for ASCII, on every string over an alphabet that reaches every rule.
TEST(PreTokenizer, AgreesWithTheRegexOnAllShortStrings) {
  const std::regex pattern(
      R"('[sStTmMdD]|'[rR][eE]|'[vV][eE]|'[lL][lL]|[^\r\nA-Za-z0-9]?[A-Za-z]+|[0-9]| ?[^\sA-Za-z0-9]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)");
  constexpr std::string_view kAlphabet = "Sl1 \n\r\t.'";
  size_t strings = 1;
  for (size_t length = 1; length <= 5; ++length) {
    strings *= kAlphabet.size();
    for (size_t number = 0; number < strings; ++number) {
      std::string text;
      for (size_t rest = number; text.size() < length; rest /= kAlphabet.size()) {
        text += kAlphabet[rest % kAlphabet.size()];
      }
      Pieces expected;
      for (auto match = std::sregex_iterator(text.begin(), text.end(), pattern);
           match != std::sregex_iterator(); ++match) {
        expected.push_back(match->str());
      }
      ASSERT_EQ(pieces(text), expected) << testing::PrintToString(text);
    }
  }
}

}  // namespace
}  // namespace squint::text
