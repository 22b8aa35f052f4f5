// prompt_lookup.h: guesses at how a text goes on, from what it said before (Saxena, "Prompt Lookup
// Decoding", 2023): where the last tokens stood earlier, what followed them there may follow here.
// A model checks several guesses in one step; each that it would have said itself saves a step.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace squint::runtime {

class PromptLookup {
 public:
  // The text so far: the prompt, then each token as it is said.
  explicit PromptLookup(std::span<const int32_t> prompt) : text_(prompt.begin(), prompt.end()) {}
  void append(int32_t token) { text_.push_back(token); }

  // At most `most` tokens that may come next; none where nothing like the end of the text was
  // found, or where guesses were wrong of late.
  std::vector<int32_t> guess(int64_t most);
  // How many of the last guess were right.
  void judge(int64_t right);

 private:
  std::vector<int32_t> text_;
  int64_t pause_ = 0;  // calls of guess that are to pass
  int64_t next_pause_ = 1;
};

}  // namespace squint::runtime
