#include "text/tokenizer.h"

#include <simdjson.h>

#include <algorithm>
#include <utility>

#include "text/pre_tokenizer.h"
#include "text/unicode.h"
#include "text/utf8.h"

namespace squint::text {

Tokenizer::Tokenizer(Vocabulary vocabulary, BytePairEncoder encoder, AddedTokens added)
    : vocabulary_(std::move(vocabulary)), encoder_(std::move(encoder)), added_(std::move(added)) {}

std::vector<int32_t> Tokenizer::encode(std::string_view utf8, bool added_tokens) const {
  std::string repaired;
  if (!simdjson::validate_utf8(utf8.data(), utf8.size())) {
    append_repaired(utf8, repaired);
    utf8 = repaired;
  }
  std::vector<int32_t> ids;
  size_t at = 0;
  if (added_tokens) {
    while (const auto match = added_.find(utf8, at)) {
      encode_segment(utf8.substr(at, match->begin - at), ids);
      ids.push_back(match->token->id);
      at = match->begin + match->token->content.size();
    }
  }
  encode_segment(utf8.substr(at), ids);
  return ids;
}

void Tokenizer::encode_segment(std::string_view utf8, std::vector<int32_t>& ids) const {
  std::string buffer;
  for (PieceScanner pieces(to_nfc(utf8, buffer)); !pieces.done();) {
    encoder_.encode(pieces.next(), ids);
  }
}

std::string Tokenizer::decode(std::span<const int32_t> ids, bool skip_special) const {
  std::string joined;
  for (const int32_t id : ids) {
    if (!skip_special || !is_special(id)) joined += bytes(id);
  }
  if (simdjson::validate_utf8(joined)) return joined;
  std::string repaired;
  append_repaired(joined, repaired);
  return repaired;
}

std::optional<int32_t> Tokenizer::token_id(std::string_view content) const {
  if (const AddedToken* added = added_.by_content(content)) return added->id;
  std::string bytes;
  if (!append_spelled_bytes(content, bytes)) return std::nullopt;
  return vocabulary_.find(bytes);
}

int32_t Tokenizer::size() const { return std::max(vocabulary_.size(), added_.size()); }

bool Tokenizer::is_special(int32_t id) const {
  const AddedToken* added = added_.by_id(id);
  return added != nullptr && added->special;
}

std::string_view Tokenizer::bytes(int32_t id) const {
  const AddedToken* added = added_.by_id(id);
  return added != nullptr ? std::string_view(added->content) : vocabulary_.bytes(id);
}

}  // namespace squint::text
