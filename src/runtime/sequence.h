// sequence.h: one request under way: what was asked, how far the answer is.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/random.h"
#include "models/qwen3_vl/model.h"
#include "runtime/prompt_lookup.h"
#include "squint/engine.h"
#include "text/stream_decoder.h"

namespace squint::runtime {

class Sequence {
 public:
  // `request`, the tokenizer and `end_tokens` must outlive it. limit: of the answer, in tokens.
  Sequence(const Request& request, qwen3_vl::ModelInput input, int64_t limit,
           const text::Tokenizer& tokenizer, std::span<const int64_t> end_tokens);

  const qwen3_vl::ModelInput& input() const { return input_; }
  int64_t tokens() const { return input_.tokens() + limit_; }  // that its cache has room for

  // Whether the next token is the one with the largest logit, whatever came before.
  bool is_greedy() const;
  // Draws a token from logits [vocab], which it changes, and takes it.
  void take(std::span<float> logits, const Engine::OnText& on_text = {});
  void take(int32_t token, const Engine::OnText& on_text = {});
  bool has_ended() const { return has_ended_; }
  // Tokens that may follow the last one, at most `most` and none past the limit.
  std::vector<int32_t> guess(int64_t most);
  void judge(int64_t guessed, int64_t right);
  // What the last token taken asks for next.
  qwen3_vl::NextToken next() { return {last_, position_++, &cache}; }

  std::vector<qwen3_vl::ImageFeatures> features;
  KvCache cache;
  Completion done;

 private:
  const Request& request_;
  qwen3_vl::ModelInput input_;
  int64_t limit_;
  std::span<const int64_t> end_tokens_;
  text::StreamDecoder stream_;
  Random random_;
  PromptLookup lookup_;
  int32_t last_ = 0;
  int64_t position_;
  bool has_ended_ = false;
};

}  // namespace squint::runtime
