#include "runtime/sequence.h"

#include <algorithm>

#include "runtime/sampler.h"

namespace squint::runtime {

Sequence::Sequence(const Request& request, qwen3_vl::ModelInput input, int64_t limit,
                   const text::Tokenizer& tokenizer, std::span<const int64_t> end_tokens)
    : request_(request),
      input_(std::move(input)),
      limit_(limit),
      end_tokens_(end_tokens),
      stream_(tokenizer),
      random_(request.sampling.seed),
      lookup_(input_.ids),
      position_(input_.positions.next) {
  done.prompt_tokens = input_.tokens();
  done.image_tokens = input_.image_tokens();
}

bool Sequence::is_greedy() const {
  const Sampling& s = request_.sampling;
  return s.temperature <= 0 && s.repetition_penalty == 1 && s.presence_penalty == 0;
}

std::vector<int32_t> Sequence::guess(int64_t most) {
  if (!request_.guesses || !is_greedy()) return {};
  // The step itself gives a token more than there are guesses.
  return lookup_.guess(std::min(most, limit_ - std::ssize(done.ids) - 1));
}

void Sequence::judge(int64_t guessed, int64_t right) {
  lookup_.judge(right);
  done.guessed_tokens += guessed;
  done.right_guesses += right;
}

void Sequence::take(std::span<float> logits, const Engine::OnText& on_text) {
  take(sample(logits, input_.ids, done.ids, request_.sampling, random_), on_text);
}

void Sequence::take(int32_t token, const Engine::OnText& on_text) {
  const auto emit = [&](const std::string& piece) {
    done.text += piece;
    if (on_text && !piece.empty()) on_text(piece);
  };
  last_ = token;
  lookup_.append(token);
  const bool is_end = std::ranges::find(end_tokens_, last_) != end_tokens_.end();
  if (is_end && !request_.ignore_end) {
    done.finish = FinishReason::stop;
    has_ended_ = true;
  } else {
    done.ids.push_back(last_);
    emit(stream_.push(last_));
    done.finish = FinishReason::length;
    has_ended_ = static_cast<int64_t>(done.ids.size()) == limit_;
  }
  if (has_ended_) emit(stream_.finish());
}

}  // namespace squint::runtime
