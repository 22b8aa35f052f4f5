#include "eval/utf8.h"

#include <gtest/gtest.h>

namespace squint::eval {
namespace {

TEST(Utf8, StrayBytesAreCodePointsOfTheirOwn) {
  // A lone continuation byte, an overlong slash, a surrogate, a sequence cut short.
  EXPECT_EQ(code_points("a\x80"), (std::u32string{U'a', kStrayByte + 0x80}));
  EXPECT_EQ(code_points("\xC0\xAF").size(), 2u);
  EXPECT_EQ(code_points("\xED\xA0\x80").size(), 3u);
  EXPECT_EQ(code_points("\xE2\x82").size(), 2u);
  EXPECT_EQ(code_points("\u20AC\U0001F600"), U"\u20AC\U0001F600");
}

TEST(Utf8, StripTakesWhatPythonTakes) {
  EXPECT_EQ(strip(" \t\r\n\v\f a b \x1c\x1f"), "a b");
  EXPECT_EQ(strip("\u00a0\u1680\u2003\u2028\u202f\u205f\u3000x\u0085"), "x");
  EXPECT_EQ(strip("\u200bx\u200b"), "\u200bx\u200b");  // Zero width space is none.
  EXPECT_EQ(strip(" \n "), "");
  EXPECT_EQ(strip("\x80 "), "\x80");
}

TEST(Utf8, LowerMapsMoreThanAscii) {
  EXPECT_EQ(lower("ABCxyz[]"), "abcxyz[]");
  EXPECT_EQ(lower("R\u00C9SERV\u00C9"), "r\u00E9serv\u00E9");
  EXPECT_EQ(lower("\u212A"), "k");
  EXPECT_EQ(lower("\u0130"), "i\u0307");
  EXPECT_EQ(lower("\xFF\xC3"), "\xFF\xC3");
}

TEST(Utf8, FoldsFullWidthAscii) {
  EXPECT_EQ(fold_full_width("\uFF01\uFF21\uFF5E\u3000\uFF5F"), "!A~ \uFF5F");
}

TEST(Utf8, RemovesSpacesAndPunctuation) {
  EXPECT_EQ(without_spaces(" a\u00a0b\n"), "ab");
  EXPECT_EQ(letters_and_digits("$1,234.50 \u00E9-\u4E2D!\x80"), "123450\u00E9\u4E2D");
}

// A model's output must not be able to steer the terminal that shows it.
TEST(Utf8, OneLineShowsControlCharacters) {
  EXPECT_EQ(one_line("a\nb\tc\x1b[31m\r"), "a\\nb\\tc\\u{1B}[31m\\u{D}");
  EXPECT_EQ(one_line("\u202Eabc\u2066"), "\\u{202E}abc\\u{2066}");
  EXPECT_EQ(one_line("\u009B\x7f\u2028"), "\\u{9B}\\u{7F}\\u{2028}");
  EXPECT_EQ(one_line("\xFF"), "\uFFFD");
}

TEST(Utf8, ClipCountsColumnsAndNeverCutsACharacter) {
  EXPECT_EQ(clip("abcdef", 6), "abcdef");
  EXPECT_EQ(clip("abcdef", 5), "abcd\u2026");
  EXPECT_EQ(clip("abcdef", 1), "\u2026");
  EXPECT_EQ(display_width("\u4E2D\u6587"), 4);
  EXPECT_EQ(clip("\u4E2D\u6587\u5B57", 6), "\u4E2D\u6587\u5B57");
  EXPECT_EQ(clip("\u4E2D\u6587\u5B57", 5), "\u4E2D\u6587\u2026");
  EXPECT_EQ(clip("\u4E2D\u6587\u5B57", 4), "\u4E2D\u2026");  // Half a character does not fit.
  EXPECT_EQ(clip("e\u0301e\u0301e", 2), "e\u0301\u2026");
  EXPECT_EQ(clip("", 1), "");
}

}  // namespace
}  // namespace squint::eval
