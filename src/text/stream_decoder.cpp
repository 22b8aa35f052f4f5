#include "text/stream_decoder.h"

#include <utility>

#include "text/utf8.h"

namespace squint::text {

StreamDecoder::StreamDecoder(const Tokenizer& tokenizer, bool skip_special)
    : tokenizer_(&tokenizer), skip_special_(skip_special) {}

std::string StreamDecoder::push(int32_t id) {
  if (skip_special_ && tokenizer_->is_special(id)) return {};
  held_ += tokenizer_->bytes(id);
  const size_t complete = held_.size() - unfinished_tail(held_);
  std::string ready;
  append_repaired(std::string_view(held_).substr(0, complete), ready);
  held_.erase(0, complete);
  return ready;
}

std::string StreamDecoder::finish() {
  std::string rest;
  append_repaired(std::exchange(held_, {}), rest);
  return rest;
}

}  // namespace squint::text
