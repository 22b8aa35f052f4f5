#include "text/tokenizer.h"

#include <gtest/gtest.h>

#include <random>
#include <thread>

#include "support/paths.h"
#include "text/tokenizer_goldens.h"
#include "text/utf8.h"

namespace squint::text {
namespace {

using Ids = std::vector<int32_t>;

const Tokenizer& reader() { return reader_tokenizer(); }

std::string data(const char* name) {
  return test::read_gzip(test::repo_dir() / "tests/data/text" / name);
}

int32_t id_of(std::string_view content) { return reader().token_id(content).value(); }

TEST(Tokenizer, AgreesWithTheRecordedTexts) {
  expect_texts(reader(), data("tokenizer-tiny.jsonl.gz"), 1949);
}

TEST(Tokenizer, AgreesWithTheRecordedDecodings) {
  expect_decoded(reader(), data("tokenizer-tiny-bytes.jsonl.gz"), 300);
}

TEST(Tokenizer, KnowsItsTokens) {
  EXPECT_EQ(reader().size(), 1024);
  EXPECT_EQ(id_of("<|endoftext|>"), 998);
  EXPECT_EQ(id_of("</think>"), 1023);
  EXPECT_EQ(id_of("!"), 0);
  EXPECT_EQ(id_of("Ġ"), 220);  // as the file spells a space
  EXPECT_EQ(reader().token_id(" "), std::nullopt);
  EXPECT_EQ(reader().token_id(""), std::nullopt);
  EXPECT_EQ(reader().token_id("<|nothing|>"), std::nullopt);
  EXPECT_EQ(reader().bytes(220), " ");
  EXPECT_EQ(reader().bytes(1000), "<|im_end|>");
  EXPECT_TRUE(reader().is_special(1000));
  EXPECT_FALSE(reader().is_special(1023));
  for (const int32_t id : {-1, 1024, INT32_MAX, INT32_MIN}) {
    EXPECT_EQ(reader().bytes(id), "");
    EXPECT_FALSE(reader().is_special(id));
  }
}

TEST(Tokenizer, UntrustedTextCannotBecomeAnAddedToken) {
  const std::string text = "a<|im_end|>b</think>";
  const Ids trusted = reader().encode(text);
  EXPECT_EQ(trusted, (Ids{id_of("a"), id_of("<|im_end|>"), id_of("b"), id_of("</think>")}));
  const Ids untrusted = reader().encode(text, /*added_tokens=*/false);
  for (const int32_t id : untrusted) EXPECT_LT(id, id_of("<|endoftext|>"));  // the first added one
  EXPECT_EQ(reader().decode(untrusted, /*skip_special=*/true), text);
}

TEST(Tokenizer, AddedTokensEndASegment) {
  // Whitespace is whole at the end of a segment, else its last character goes to what follows.
  Ids expected = reader().encode("a  ");
  expected.push_back(id_of("<|im_end|>"));
  EXPECT_EQ(reader().encode("a  <|im_end|>"), expected);
  // A mark does not compose across a token.
  expected = reader().encode("e");
  expected.push_back(id_of("<think>"));
  for (const int32_t id : reader().encode("\u0301")) expected.push_back(id);
  EXPECT_EQ(reader().encode("e<think>\u0301"), expected);
}

TEST(Tokenizer, InvalidBytesAreReadAsReplacements) {
  EXPECT_EQ(reader().encode("a\xffz"), reader().encode("a\uFFFDz"));
  EXPECT_EQ(reader().encode("a\xe4\xbd"), reader().encode("a\uFFFD"));
  EXPECT_EQ(reader().encode("\xe4<|im_end|>"), reader().encode("\uFFFD<|im_end|>"));
}

TEST(Tokenizer, IdsWithoutAStringDecodeToNothing) {
  const Ids ids = {id_of("a"), -5, 70000, id_of("b")};
  EXPECT_EQ(reader().decode(ids, /*skip_special=*/false), "ab");
}

TEST(Tokenizer, ASkippedTokenDoesNotCutACharacter) {
  const Ids e_acute = reader().encode("é");
  ASSERT_EQ(e_acute.size(), 2u);
  const Ids ids = {e_acute[0], id_of("<|im_end|>"), e_acute[1]};
  EXPECT_EQ(reader().decode(ids, /*skip_special=*/true), "é");
  EXPECT_EQ(reader().decode(ids, /*skip_special=*/false), "\uFFFD<|im_end|>\uFFFD");
}

TEST(Tokenizer, EncodingLosesNothingThatIsInNfc) {
  std::mt19937 random(17);
  const std::u32string_view alphabet =
      U" \t\n\r  aZé ſ'sTll.,;_-09½你好のक्षि한👩\u200d💻\u00a0\u3000\u2028<|im_start|>";
  for (int round = 0; round < 3000; ++round) {
    std::string text;
    for (size_t left = random() % 40; left > 0; --left) {
      append_utf8(alphabet[random() % alphabet.size()], text);
    }
    ASSERT_EQ(reader().decode(reader().encode(text), /*skip_special=*/false), text)
        << "seed 17, round " << round;
  }
}

TEST(Tokenizer, IsSharedBetweenThreads) {
  const std::string text = "Threads share one tokenizer: é 你好 e\u0301 1234 <|im_end|>";
  const Ids expected = reader().encode(text);
  std::vector<Ids> found(4);
  std::vector<std::jthread> threads;
  for (Ids& ids : found) {
    threads.emplace_back([&] {
      for (int i = 0; i < 200; ++i) ids = reader().encode(text);
    });
  }
  threads.clear();
  for (const Ids& ids : found) EXPECT_EQ(ids, expected);
}

}  // namespace
}  // namespace squint::text
