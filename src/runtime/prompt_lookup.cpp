#include "runtime/prompt_lookup.h"

#include <algorithm>

namespace squint::runtime {
namespace {

constexpr int64_t kAlike = 3;  // tokens that must have stood together before
// A step with guesses takes somewhat longer than one without. After a wrong one twice as many steps
// pass without as before: where they never help, soon there are none.
constexpr int64_t kLongestPause = 256;

}  // namespace

std::vector<int32_t> PromptLookup::guess(int64_t most) {
  if (pause_ > 0) {
    --pause_;
    return {};
  }
  const auto size = std::ssize(text_);
  if (most < 1 || size <= kAlike) return {};
  const auto end = text_.end() - kAlike;
  // The last place counts: what is near is more alike.
  const auto at = std::find_end(text_.begin(), text_.end() - 1, end, text_.end());
  if (at == text_.end() - 1) return {};
  const auto begin = at + kAlike;
  return {begin, begin + std::min<int64_t>(most, text_.end() - begin)};
}

void PromptLookup::judge(int64_t right) {
  if (right > 0) {
    next_pause_ = 1;
    return;
  }
  pause_ = next_pause_;
  next_pause_ = std::min(2 * next_pause_, kLongestPause);
}

}  // namespace squint::runtime
