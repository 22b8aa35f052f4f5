#include "text/unicode.h"

#include <gtest/gtest.h>
#include <utf8proc.h>

#include <cstdlib>
#include <memory>
#include <random>

#include "text/utf8.h"

namespace squint::text {
namespace {

std::string nfc(std::string_view text) {
  std::string buffer;
  return std::string(to_nfc(text, buffer));
}

std::string utf8proc_nfc(const std::string& text) {
  utf8proc_uint8_t* out = nullptr;
  const utf8proc_ssize_t length =
      utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                   static_cast<utf8proc_ssize_t>(text.size()), &out,
                   static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
  const std::unique_ptr<utf8proc_uint8_t, decltype(&std::free)> owner(out, std::free);
  return {reinterpret_cast<const char*>(out), static_cast<size_t>(length)};
}

TEST(Unicode, ClassesOfNotableCharacters) {
  const CharTable& table = CharTable::instance();
  for (const char32_t c :
       {U'a', U'Z', U'é', U'ſ', U'你', U'ʰ', U'ª', U'\U00020000', U'\U00031350'}) {
    EXPECT_EQ(table.char_class(c), CharClass::letter) << static_cast<uint32_t>(c);
  }
  for (const char32_t c : {U'0', U'²', U'½', U'Ⅷ', U'٣', U'〇'}) {
    EXPECT_EQ(table.char_class(c), CharClass::number) << static_cast<uint32_t>(c);
  }
  for (const char32_t c : {U'\t', U'\v', U' ', U'\u0085', U'\u00a0', U'\u1680', U'\u2000',
                           U'\u200a', U'\u2028', U'\u2029', U'\u202f', U'\u205f', U'\u3000'}) {
    EXPECT_EQ(table.char_class(c), CharClass::space) << static_cast<uint32_t>(c);
  }
  // Among them what looks like space but is not: U+180E, U+200B, U+FEFF, U+001C.
  for (const char32_t c : {U'.', U'_', U'\u0301', U'\u093f', U'😀', U'\u180e', U'\u200b', U'\u200d',
                           U'\ufeff', U'\u001c', U'\0', U'\U0010ffff', U'\u0378'}) {
    EXPECT_EQ(table.char_class(c), CharClass::other) << static_cast<uint32_t>(c);
  }
}

TEST(Nfc, TextThatIsComposedIsNotCopied) {
  for (const std::string_view text : {"", "ascii", "café 你好 한국어 😀\u200d"}) {
    std::string buffer;
    EXPECT_EQ(to_nfc(text, buffer).data(), text.data());
    EXPECT_TRUE(buffer.empty());
  }
}

TEST(Nfc, ComposesDecomposesAndReorders) {
  EXPECT_EQ(nfc("cafe\u0301"), "caf\u00e9");
  EXPECT_EQ(nfc("\u212b"), "\u00c5");                // a singleton, with no mark in sight
  EXPECT_EQ(nfc("\u0958"), "\u0915\u093c");          // excluded from composition
  EXPECT_EQ(nfc("\u1112\u1161\u11ab"), "\ud55c");    // Hangul
  EXPECT_EQ(nfc("\ud558\u11ab"), "\ud55c");          // a syllable takes a final consonant
  EXPECT_EQ(nfc("q\u0307\u0323"), "q\u0323\u0307");  // by combining class
  EXPECT_EQ(nfc("\u09c7\u09be"), "\u09cb");          // a second part that is a starter
  EXPECT_EQ(nfc("a\u0301\u0301"), "\u00e1\u0301");
  EXPECT_EQ(nfc(std::string("e\0\u0301", 4)), std::string("e\0\u0301", 4));
}

TEST(Nfc, EveryCodePointAlone) {
  for (char32_t c = 0; c < 0x110000; ++c) {
    if (0xd800 <= c && c <= 0xdfff) continue;
    std::string text;
    append_utf8(c, text);
    ASSERT_EQ(nfc(text), utf8proc_nfc(text)) << static_cast<uint32_t>(c);
  }
}

// Strings of the characters that can interact: marks, jamo, composites and what they are made of.
TEST(Nfc, AgreesWithUtf8procOnRandomSequences) {
  std::vector<char32_t> pool = {U'a', U'e', U'o', U'A', U'1'};
  for (char32_t c = 0x80; c < 0x30000; ++c) {
    if (0xd800 <= c && c <= 0xdfff) continue;
    const auto* property = utf8proc_get_property(static_cast<utf8proc_int32_t>(c));
    const bool is_hangul = 0xac00 <= c && c <= 0xd7a3;
    if (property->combining_class != 0 || property->decomp_seqindex != UINT16_MAX ||
        property->comb_index != UINT16_MAX || (is_hangul && c % 97 == 0)) {
      pool.push_back(c);
    }
  }
  for (char32_t c = 0x1100; c <= 0x11ff; ++c) pool.push_back(c);
  std::mt19937 random(5);
  for (int round = 0; round < 60000; ++round) {
    std::string text;
    // Neighbours in the tables belong to one script, so they interact more often.
    size_t around = random() % pool.size();
    for (size_t left = 1 + random() % 6; left > 0; --left) {
      if (random() % 4 == 0) around = random() % pool.size();
      append_utf8(pool[(around + random() % 40) % pool.size()], text);
    }
    ASSERT_EQ(nfc(text), utf8proc_nfc(text)) << "seed 5, round " << round;
  }
}

// A sort by insertion would take minutes here.
TEST(Nfc, ALongRunOfMarksTakesNoQuadraticTime) {
  std::string text = "q";
  std::string expected = "q";
  constexpr int kPairs = 200000;
  for (int i = 0; i < kPairs; ++i) text += "\u0307\u0323";
  for (int i = 0; i < kPairs; ++i) expected += "\u0323";
  for (int i = 0; i < kPairs; ++i) expected += "\u0307";
  EXPECT_TRUE(nfc(text) == expected);
}

}  // namespace
}  // namespace squint::text
