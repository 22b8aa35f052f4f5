#include "text/vocabulary.h"

#include <gtest/gtest.h>

#include <set>

#include "squint/error.h"
#include "text/utf8.h"

namespace squint::text {
namespace {

TEST(ByteAlphabet, SpellsEveryByteOnce) {
  std::set<char> bytes;
  for (char32_t c = 0; c < 0x300; ++c) {
    std::string spelling;
    append_utf8(c, spelling);
    std::string spelled;
    if (append_spelled_bytes(spelling, spelled)) {
      EXPECT_EQ(spelled.size(), 1u);
      EXPECT_TRUE(bytes.insert(spelled[0]).second) << static_cast<uint32_t>(c);
    }
  }
  EXPECT_EQ(bytes.size(), 256u);
}

TEST(ByteAlphabet, NotableSpellings) {
  const auto bytes_of = [](std::string_view spelling) {
    std::string bytes;
    return append_spelled_bytes(spelling, bytes) ? bytes : "none";
  };
  EXPECT_EQ(bytes_of("Ġthe"), " the");
  EXPECT_EQ(bytes_of("ĊĉĀ"), std::string("\n\t\0", 3));
  EXPECT_EQ(bytes_of("ä½ł"), "你");
  EXPECT_EQ(bytes_of("\u0143\u00ff"), "\xad\xff");
  EXPECT_EQ(bytes_of("a b"), "none");
  EXPECT_EQ(bytes_of("\u00ad"), "none");
  EXPECT_EQ(bytes_of("\u0144"), "none");
  EXPECT_EQ(bytes_of("a\xff"), "none");
}

TEST(Vocabulary, FindsWhatItHoldsAndLeavesGapsEmpty) {
  const Vocabulary vocabulary({{"b", 5}, {std::string("\0", 1), 2}, {"a longer string", 0}},
                              "here");
  EXPECT_EQ(vocabulary.size(), 6);
  EXPECT_EQ(vocabulary.bytes(0), "a longer string");
  EXPECT_EQ(vocabulary.bytes(2), std::string_view("\0", 1));
  EXPECT_EQ(vocabulary.bytes(5), "b");
  for (const int32_t id : {-1, 1, 3, 4, 6, INT32_MAX, INT32_MIN}) {
    EXPECT_EQ(vocabulary.bytes(id), "") << id;
  }
  EXPECT_EQ(vocabulary.find("b"), 5);
  EXPECT_EQ(vocabulary.find("a longer string"), 0);
  EXPECT_EQ(vocabulary.find("a longer strinG"), std::nullopt);
  EXPECT_EQ(vocabulary.find(""), std::nullopt);
}

TEST(Vocabulary, NothingIsFoundInAnEmptyOne) {
  const Vocabulary vocabulary({}, "here");
  EXPECT_EQ(vocabulary.size(), 0);
  EXPECT_EQ(vocabulary.find("a"), std::nullopt);
  EXPECT_EQ(vocabulary.bytes(0), "");
}

TEST(Vocabulary, RefusesRepeatedIdsAndStrings) {
  EXPECT_THROW(Vocabulary({{"a", 1}, {"b", 1}}, "here"), Error);
  EXPECT_THROW(Vocabulary({{"a", 1}, {"a", 2}}, "here"), Error);
}

}  // namespace
}  // namespace squint::text
