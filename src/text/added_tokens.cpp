#include "text/added_tokens.h"

#include <algorithm>
#include <utility>

namespace squint::text {
namespace {

size_t first_byte(const AddedToken& token) { return static_cast<uint8_t>(token.content.front()); }

}  // namespace

AddedTokens::AddedTokens(std::vector<AddedToken> tokens) : tokens_(std::move(tokens)) {
  std::sort(tokens_.begin(), tokens_.end(), [](const AddedToken& a, const AddedToken& b) {
    if (first_byte(a) != first_byte(b)) return first_byte(a) < first_byte(b);
    return a.content.size() > b.content.size();
  });
  for (uint32_t i = 0; i < tokens_.size(); ++i) {
    ++first_of_byte_[first_byte(tokens_[i]) + 1];
    index_of_id_.emplace(tokens_[i].id, i);
    size_ = std::max(size_, tokens_[i].id + 1);
  }
  for (size_t byte = 1; byte < first_of_byte_.size(); ++byte) {
    first_of_byte_[byte] += first_of_byte_[byte - 1];
  }
}

std::optional<AddedTokens::Match> AddedTokens::find(std::string_view text, size_t from) const {
  for (size_t at = from; at < text.size(); ++at) {
    const size_t byte = static_cast<uint8_t>(text[at]);
    for (uint32_t i = first_of_byte_[byte]; i < first_of_byte_[byte + 1]; ++i) {
      if (text.substr(at).starts_with(tokens_[i].content)) return Match{at, &tokens_[i]};
    }
  }
  return std::nullopt;
}

const AddedToken* AddedTokens::by_id(int32_t id) const {
  const auto found = index_of_id_.find(id);
  return found == index_of_id_.end() ? nullptr : &tokens_[found->second];
}

const AddedToken* AddedTokens::by_content(std::string_view content) const {
  const auto match = find(content, 0);
  if (!match || match->begin != 0 || match->token->content != content) return nullptr;
  return match->token;
}

}  // namespace squint::text
