// Two inputs in one, told apart by the first byte: a tokenizer.json to read, which may fail with
// Error only, and bytes for a known small tokenizer, whose properties must hold for any text.
#include <array>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "squint/error.h"
#include "text/stream_decoder.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

namespace {

using squint::text::StreamDecoder;
using squint::text::Tokenizer;

void require(bool condition) {
  if (!condition) std::abort();
}

void append_spelling(int byte, int& next, std::string& text) {
  const bool itself = (0x21 <= byte && byte <= 0x7e) || (0xa1 <= byte && byte <= 0xac) ||
                      (0xae <= byte && byte <= 0xff);
  if (byte == '"' || byte == '\\') text += '\\';
  squint::text::append_utf8(static_cast<char32_t>(itself ? byte : next++), text);
}

constexpr int32_t kFirstAdded = 300;  // of the small tokenizer

// Every byte, six merges that overlap, two added tokens of which one begins the other.
std::string small_tokenizer_json() {
  std::string vocab;
  int next = 0x100;
  for (int byte = 0; byte < 256; ++byte) {
    vocab += '"';
    append_spelling(byte, next, vocab);
    vocab += "\":" + std::to_string(byte) + ",";
  }
  return R"({"normalizer":{"type":"NFC"},"decoder":{"type":"ByteLevel"},"post_processor":null,
    "pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"Split","behavior":"Isolated",
    "invert":false,"pattern":{"Regex":"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"}},
    {"type":"ByteLevel","add_prefix_space":false,"use_regex":false}]},
    "added_tokens":[{"id":300,"content":"<a>","special":true},
                    {"id":301,"content":"<a><b>","special":false,"normalized":false}],
    "model":{"type":"BPE","vocab":{)" +
         vocab + R"("aa":256,"aaaa":257,"ab":258,"Ġa":259,"ĠĠ":260,"Ġaaaa":261},
    "merges":["a a",["aa","aa"],"a b","Ġ a","Ġ Ġ",["Ġ","aaaa"]]}})";
}

// The text of all tokens given one by one must be what they give together.
void check_decoding(const Tokenizer& tokenizer, const std::vector<int32_t>& ids) {
  for (const bool skip_special : {false, true}) {
    StreamDecoder decoder(tokenizer, skip_special);
    std::string streamed;
    for (const int32_t id : ids) streamed += decoder.push(id);
    streamed += decoder.finish();
    require(streamed == tokenizer.decode(ids, skip_special));
    std::string repaired;
    squint::text::append_repaired(streamed, repaired);
    require(repaired == streamed);
  }
}

void check_text(const Tokenizer& tokenizer, std::string_view text) {
  for (const bool added_tokens : {false, true}) {
    const std::vector<int32_t> ids = tokenizer.encode(text, added_tokens);
    for (const int32_t id : ids) require(0 <= id && id < tokenizer.size());
    // Decoding gives the text in NFC, which encodes to the same bytes again. Not with added tokens:
    // NFC may make or break one.
    const std::string decoded = tokenizer.decode(ids, /*skip_special=*/false);
    if (!added_tokens) require(tokenizer.encode(decoded, added_tokens) == ids);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const Tokenizer tokenizer = Tokenizer::parse(small_tokenizer_json(), "built-in");
  if (size == 0) return 0;
  const std::string_view input(reinterpret_cast<const char*>(data) + 1, size - 1);
  if (data[0] == '{') {
    try {
      const Tokenizer parsed =
          Tokenizer::parse({reinterpret_cast<const char*>(data), size}, "input");
      check_text(parsed, input.substr(0, 256));
      check_decoding(parsed, {0, 1, 2, parsed.size() - 1, parsed.size()});
    } catch (const squint::Error&) {
    }
    return 0;
  }
  check_text(tokenizer, input);
  for (const int32_t id : tokenizer.encode(input, /*added_tokens=*/false)) {
    require(id < kFirstAdded);
  }
  std::vector<int32_t> ids;
  for (const char c : input) ids.push_back(static_cast<uint8_t>(c) + (data[0] & 1) * 50);
  check_decoding(tokenizer, ids);
  return 0;
}
