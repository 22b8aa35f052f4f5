// tokenizer.h: text to token ids and back: the byte-level BPE of Qwen2/Qwen3 (spec qwen3-vl.md
// §3.2-3.5), read from a Hugging Face tokenizer.json.
//
//     text -> split out added tokens -> NFC -> pieces (pre_tokenizer.h) -> bytes -> merges -> ids
//     ids  -> bytes of each token, joined -> UTF-8, each maximal invalid part as U+FFFD
//
// One shape of tokenizer.json is read: model BPE over the byte alphabet, NFC, the Qwen
// pre-tokenizer pattern followed by ByteLevel. Anything else is refused rather than approximated.
// `truncation` and `padding` are settings of another program's calls, not of the vocabulary, and
// are ignored.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "text/added_tokens.h"
#include "text/byte_pair_encoder.h"
#include "text/vocabulary.h"

namespace squint::text {

// Immutable once built; any number of threads may share one.
class Tokenizer {
 public:
  // json: the bytes of a tokenizer.json; where: its name, which starts every error message.
  // Throws Error(bad_input) for a file that is malformed or contradicts itself, Error(unsupported)
  // for a well-formed tokenizer of another kind.
  static Tokenizer parse(std::string_view json, std::string_view where);

  // Nothing is put in front or behind. Each maximal invalid part of `utf8` is read as U+FFFD, as
  // Python's errors="replace" does. Added tokens in the text become their ids; with
  // added_tokens = false they stay plain text, which is how to encode what is not trusted.
  std::vector<int32_t> encode(std::string_view utf8, bool added_tokens = true) const;

  // Always valid UTF-8. Ids without a string (padding rows of the embedding, negative ones) decode
  // to nothing, and so do special tokens if skip_special.
  std::string decode(std::span<const int32_t> ids, bool skip_special) const;

  // The id of an added token, or of a vocabulary entry as tokenizer.json spells it ("Ġthe").
  std::optional<int32_t> token_id(std::string_view content) const;

  int32_t size() const;  // largest id + 1
  bool is_special(int32_t id) const;
  // What the token stands for: raw bytes, not always whole characters; the text of an added token;
  // empty for an id without a string. Valid as long as the tokenizer.
  std::string_view bytes(int32_t id) const;

 private:
  Tokenizer(Vocabulary vocabulary, BytePairEncoder encoder, AddedTokens added);
  void encode_segment(std::string_view utf8, std::vector<int32_t>& ids) const;

  Vocabulary vocabulary_;
  BytePairEncoder encoder_;
  AddedTokens added_;
};

}  // namespace squint::text
