// stream_decoder.h: text as it is generated, one token at a time (spec qwen3-vl.md §3.5).
//
// A token may end inside a character. Its first bytes are held back (never more than 3) until the
// character is complete or can no longer become one. All pieces together are exactly what
// Tokenizer::decode gives for all ids together.
#pragma once

#include <cstdint>
#include <string>

#include "text/tokenizer.h"

namespace squint::text {

// For one sequence. The tokenizer must outlive it.
class StreamDecoder {
 public:
  explicit StreamDecoder(const Tokenizer& tokenizer, bool skip_special = true);

  // The text that is complete now; always valid UTF-8, often empty.
  std::string push(int32_t id);
  // At the end of the sequence: an unfinished character as U+FFFD. The decoder can be used again.
  std::string finish();

 private:
  const Tokenizer* tokenizer_;
  bool skip_special_;
  std::string held_;
};

}  // namespace squint::text
