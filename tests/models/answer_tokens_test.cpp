#include "models/qwen3_vl/answer_tokens.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "support/paths.h"

namespace squint::qwen3_vl {
namespace {

using enum TokenKind;

class AnswerTokensTest : public ::testing::Test {
 protected:
  static const text::Tokenizer& tokenizer() {
    static const text::Tokenizer loaded = text::Tokenizer::parse(
        test::read_text(test::repo_dir() / "models/reader/tokenizer.json"), "tokenizer.json");
    return loaded;
  }
  static std::vector<AnswerToken> find(const std::vector<int32_t>& ids) {
    return answer_tokens(ids, tokenizer(), *tokenizer().token_id("<|image_pad|>"));
  }
  // Kind and bytes of the tokens of an answer that stands on its own.
  static std::vector<std::pair<TokenKind, std::string>> kinds(const std::string& answer) {
    const std::vector<int32_t> ids = tokenizer().encode("<|im_start|>assistant\n" + answer);
    std::vector<std::pair<TokenKind, std::string>> out;
    for (const AnswerToken& t : find(ids)) {
      out.emplace_back(t.kind, tokenizer().bytes(ids[static_cast<size_t>(t.index)]));
    }
    return out;
  }
  static std::string text_of(const std::vector<int32_t>& ids) {
    std::vector<int32_t> found;
    for (const AnswerToken& t : find(ids)) found.push_back(ids[static_cast<size_t>(t.index)]);
    return tokenizer().decode(found, /*skip_special=*/false);
  }
};

TEST_F(AnswerTokensTest, AllTurnsOfTheAssistantAndNothingElse) {
  const std::vector<int32_t> ids = tokenizer().encode(
      "<|im_start|>system\nassistant\n<|im_end|>\n<|im_start|>user\nassistant\nhi<|im_end|>\n"
      "<|im_start|>assistant\nfirst<|im_end|>\n<|im_start|>user\nmore<|im_end|>\n"
      "<|im_start|>assistant\nsecond<|im_end|>\n<|im_start|>assistants\nno<|im_end|>\n");
  EXPECT_EQ(text_of(ids), "first<|im_end|>second<|im_end|>");
}

TEST_F(AnswerTokensTest, UnfinishedTurnsEndWithTheText) {
  EXPECT_EQ(text_of(tokenizer().encode("<|im_start|>assistant\nyes")), "yes");
  EXPECT_EQ(text_of(tokenizer().encode("<|im_start|>assistant\n")), "");
  EXPECT_EQ(text_of(tokenizer().encode("<|im_start|>assist")), "");
  EXPECT_EQ(text_of(tokenizer().encode("<|im_start|>")), "");
  EXPECT_EQ(text_of({}), "");
}

// As when the answer is generated: its line break is a token of its own.
TEST_F(AnswerTokensTest, AnswersMayBeginWithALineBreak) {
  std::vector<int32_t> ids = tokenizer().encode("<|im_start|>assistant\n");
  for (const int32_t id : tokenizer().encode("\n\nnew<|im_end|>")) ids.push_back(id);
  EXPECT_EQ(text_of(ids), "\n\nnew<|im_end|>");
}

TEST_F(AnswerTokensTest, ImagesCountForWhatFollowsThem) {
  const std::vector<int32_t> ids = tokenizer().encode(
      "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\na<|im_end|>\n<|im_start|>user\n"
      "<|vision_start|><|image_pad|><|vision_end|><|im_end|>\n<|im_start|>assistant\nb<|im_end|>");
  std::vector<bool> after;
  for (const AnswerToken& t : find(ids)) after.push_back(t.after_image);
  EXPECT_EQ(after, (std::vector<bool>{false, false, true, true}));
}

TEST_F(AnswerTokensTest, KindsByWhatATokenHolds) {
  for (const auto& [kind, bytes] : kinds("words, only: \xc3\xa9")) EXPECT_EQ(kind, text) << bytes;
  std::vector<TokenKind> found;
  for (const auto& [kind, bytes] : kinds("a1<|im_end|>")) found.push_back(kind);
  EXPECT_EQ(found, (std::vector<TokenKind>{text, digits, end}));
}

// The vocabulary has no ideographs, so that each byte is a token.
TEST_F(AnswerTokensTest, PartsOfACharacterAreThatCharacter) {
  for (const char* character : {"漢", "か", "한", "。", "１", "𠀀"}) {
    const auto tokens = kinds(character);
    EXPECT_GT(tokens.size(), 1u) << character;
    for (const auto& [kind, bytes] : tokens) EXPECT_EQ(kind, cjk) << character;
  }
  for (const char* character : {"é", "Ж", "😀", "٣"}) {
    for (const auto& [kind, bytes] : kinds(character)) EXPECT_EQ(kind, text) << character;
  }
}

}  // namespace
}  // namespace squint::qwen3_vl
