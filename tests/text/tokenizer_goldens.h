// tokenizer_goldens.h: recorded results of the Hugging Face tokenizers library, line by line.
#pragma once

#include <string_view>

#include "text/tokenizer.h"

namespace squint::text {

// The tokenizer of models/reader: 998 entries and the 26 added tokens.
const Tokenizer& reader_tokenizer();

// Lines {"text", "ids", "decoded", "visible"}: encode, decode, decode without special tokens.
void expect_texts(const Tokenizer& tokenizer, std::string_view lines, int expected_lines);
// Lines {"ids", "decoded"}: arbitrary ids, cutting characters anywhere.
void expect_decoded(const Tokenizer& tokenizer, std::string_view lines, int expected_lines);

}  // namespace squint::text
