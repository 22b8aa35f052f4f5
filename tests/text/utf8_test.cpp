#include "text/utf8.h"

#include <gtest/gtest.h>

#include <random>

namespace squint::text {
namespace {

std::string repaired(std::string_view text) {
  std::string out;
  append_repaired(text, out);
  return out;
}

TEST(Utf8, EveryCodePointSurvivesARoundTrip) {
  for (char32_t c = 0; c < 0x110000; ++c) {
    if (0xd800 <= c && c <= 0xdfff) continue;
    std::string text;
    append_utf8(c, text);
    const Utf8Step step = utf8_step(text);
    ASSERT_EQ(step.kind, Utf8Step::Kind::valid) << static_cast<uint32_t>(c);
    ASSERT_EQ(step.code_point, c);
    ASSERT_EQ(step.length, text.size());
  }
}

// Expected values from Python: bytes.decode("utf-8", errors="replace").
TEST(Utf8, EachMaximalInvalidPartBecomesOneReplacement) {
  const auto replacements = [](int count) {
    std::string out;
    for (int i = 0; i < count; ++i) out += kReplacement;
    return out;
  };
  EXPECT_EQ(repaired("plain é 你 👩"), "plain é 你 👩");
  EXPECT_EQ(repaired(""), "");
  EXPECT_EQ(repaired("a\x80z"), "a" + replacements(1) + "z");
  EXPECT_EQ(repaired("\xc0\xaf"), replacements(2));          // overlong
  EXPECT_EQ(repaired("\xe0\x80\x80"), replacements(3));      // overlong
  EXPECT_EQ(repaired("\xed\xa0\x80"), replacements(3));      // surrogate
  EXPECT_EQ(repaired("\xf4\x90\x80\x80"), replacements(4));  // above U+10FFFF
  EXPECT_EQ(repaired("\xf5\x80"), replacements(2));          // no such lead
  EXPECT_EQ(repaired("\xe4\xbd"
                     "a"),
            replacements(1) + "a");  // cut short
  EXPECT_EQ(repaired("\xf0\x9f\x91\xf0\x9f\x91\xa9"), replacements(1) + "👩");
  EXPECT_EQ(repaired("\xf0\x80\x80\x41"), replacements(3) + "A");
  EXPECT_EQ(repaired("x\xe4\xbd"), "x" + replacements(1));  // unfinished end
  EXPECT_EQ(repaired("\xf1\x80\x80"), replacements(1));
}

TEST(Utf8, RepairingTwiceChangesNothing) {
  std::mt19937 random(11);
  for (int round = 0; round < 2000; ++round) {
    std::string text(random() % 24, '\0');
    for (char& c : text)
      c = static_cast<char>(random() % 2 == 0 ? 0x80 + random() % 0x80 : random());
    const std::string once = repaired(text);
    ASSERT_EQ(repaired(once), once) << "seed 11, round " << round;
    ASSERT_EQ(unfinished_tail(once), 0u);
  }
}

TEST(Utf8, OnlyAnUnfinishedCharacterIsATail) {
  EXPECT_EQ(unfinished_tail(""), 0u);
  EXPECT_EQ(unfinished_tail("abc"), 0u);
  EXPECT_EQ(unfinished_tail("你"), 0u);
  EXPECT_EQ(unfinished_tail("a\xc3"), 1u);
  EXPECT_EQ(unfinished_tail("a\xe4\xbd"), 2u);
  EXPECT_EQ(unfinished_tail("a\xf0\x9f\x91"), 3u);
  EXPECT_EQ(unfinished_tail("a\xed\xa0"), 0u);  // can only be a surrogate
  EXPECT_EQ(unfinished_tail("a\xc0"), 0u);      // starts nothing
  EXPECT_EQ(unfinished_tail("\x80\x80\x80\x80"), 0u);
  EXPECT_EQ(unfinished_tail("\xe4\xbd\xa0\xbd"), 0u);  // a stray continuation
}

}  // namespace
}  // namespace squint::text
