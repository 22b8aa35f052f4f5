// answer_tokens.h: which tokens of a conversation a model has to answer with, and what they are.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "text/tokenizer.h"

namespace squint::qwen3_vl {

// By what it holds; the later wins where a token holds several:
//   end     <|im_end|>
//   cjk     a byte of a Chinese, Japanese or Korean character: ideographs, kana, bopomofo, hangul,
//           their punctuation and full-width forms
//   digits  one of 0 to 9
//   text    anything else
enum class TokenKind : uint8_t { text, digits, cjk, end };
std::string_view name(TokenKind kind);

struct AnswerToken {
  int64_t index = 0;  // in the conversation; the state before it predicts it
  TokenKind kind = TokenKind::text;
  bool after_image = false;  // an image stands somewhere before it
};

// Of all turns that begin with <|im_start|>assistant↵: the tokens after that header, up to
// <|im_end|> and with it. A character that is split between tokens counts for each of them.
std::vector<AnswerToken> answer_tokens(std::span<const int32_t> ids,
                                       const text::Tokenizer& tokenizer, int32_t image_token);

}  // namespace squint::qwen3_vl
