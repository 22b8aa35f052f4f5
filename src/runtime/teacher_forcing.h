// teacher_forcing.h: what a model predicts for an answer that is given, token by token.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "models/qwen3_vl/model.h"

namespace squint::runtime {

struct QuestionAnswer {
  std::string question;
  std::vector<std::filesystem::path> images;
  std::string answer;  // without the end token, which is added
};

struct ForcedInput {
  qwen3_vl::ModelInput input;  // prompt, answer and <|im_end|>
  int64_t answer_tokens = 0;   // the last ones, <|im_end|> included
};

ForcedInput force(const qwen3_vl::Processor& processor, const QuestionAnswer& row);

// Calls seen(row, logits) with the logits [answer_tokens, vocab] that predict each answer token.
// All rows run as one batch. Logits are scratch memory of `cx`, valid during the call.
using SeenLogits = std::function<void(size_t row, const Tensor& logits)>;
void forced_logits(Context& cx, const qwen3_vl::Model& model, std::span<const ForcedInput> rows,
                   const SeenLogits& seen);

}  // namespace squint::runtime
