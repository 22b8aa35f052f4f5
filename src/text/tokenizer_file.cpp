// tokenizer_file.cpp: Tokenizer::parse: what a tokenizer.json must say, and the tables made of it.
#include <fmt/format.h>
#include <simdjson.h>

#include <array>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include "squint/error.h"
#include "text/pre_tokenizer.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

namespace squint::text {
namespace {

using simdjson::dom::array;
using simdjson::dom::element;
using simdjson::dom::element_type;
using simdjson::dom::object;

constexpr std::string_view kSupported =
    "supported: byte-level BPE with NFC and the Qwen2/Qwen3 pre-tokenizer";

// For messages: strings of the file may have any length and hold line breaks.
std::string quoted(std::string_view text) {
  constexpr size_t kLongest = 80;
  std::string out = "\"";
  const std::string_view shown = text.substr(0, kLongest);
  append_repaired(shown.substr(0, shown.size() - unfinished_tail(shown)), out);
  for (char& c : out) {
    if (static_cast<uint8_t>(c) < 0x20) c = '?';
  }
  return out + (shown.size() < text.size() ? "…\"" : "\"");
}

std::string_view type_name(element value) {
  switch (value.type()) {
    case element_type::ARRAY:
      return "an array";
    case element_type::OBJECT:
      return "an object";
    case element_type::STRING:
      return "a string";
    case element_type::BOOL:
      return "a boolean";
    case element_type::NULL_VALUE:
      return "null";
    default:
      return "a number";
  }
}

class TokenizerFile {
 public:
  TokenizerFile(object root, std::string_view where) : root_(root), where_(where) {}

  void check_supported() const;
  std::vector<Vocabulary::Entry> entries() const;
  std::array<int32_t, 256> byte_ids(const Vocabulary& vocabulary) const;
  std::vector<Merge> merges(const Vocabulary& vocabulary) const;
  AddedTokens added_tokens(const Vocabulary& vocabulary) const;

 private:
  [[noreturn]] void fail(std::string_view message) const {
    throw Error(ErrorCode::bad_input, fmt::format("{}: {}", where_, message));
  }
  [[noreturn]] void refuse(std::string_view message) const {
    throw Error(ErrorCode::unsupported, fmt::format("{}: {}; {}", where_, message, kSupported));
  }
  template <class T>
  T as(element value, std::string_view path, std::string_view expected) const {
    T out{};
    if (value.get(out) != simdjson::SUCCESS) {
      fail(fmt::format("{}: expected {}, found {}", path, expected, type_name(value)));
    }
    return out;
  }
  template <class T>
  T required(object parent, std::string_view key, std::string_view path,
             std::string_view expected) const {
    element value;
    if (parent.at_key(key).get(value) != simdjson::SUCCESS) {
      fail(
          fmt::format("{}: expected {}, but it is missing; not a tokenizer.json?", path, expected));
    }
    return as<T>(value, path, expected);
  }
  int32_t token_id(int64_t id, std::string_view path) const;
  void expect_type(object step, std::string_view path, std::string_view supported) const;
  void expect_flag(object step, std::string_view key, std::string_view path, bool absent) const;
  void expect_empty(object model, std::string_view key) const;
  void check_model() const;
  void check_pre_tokenizer() const;
  Merge merge(const Vocabulary& vocabulary, element entry, size_t rank) const;

  object root_;
  std::string_view where_;
};

void TokenizerFile::expect_type(object step, std::string_view path,
                                std::string_view supported) const {
  const std::string type_path = fmt::format("{}.type", path);
  const auto type = required<std::string_view>(step, "type", type_path, "a string");
  if (type != supported) {
    refuse(fmt::format("{} is {}, expected \"{}\"", type_path, quoted(type), supported));
  }
}

// The flag must be false; `absent` is what other readers take it for where it is missing.
void TokenizerFile::expect_flag(object step, std::string_view key, std::string_view path,
                                bool absent) const {
  element value;
  bool flag = absent;
  const std::string flag_path = fmt::format("{}.{}", path, key);
  if (step.at_key(key).get(value) == simdjson::SUCCESS) {
    flag = as<bool>(value, flag_path, "a boolean");
  }
  if (flag) refuse(fmt::format("{} is true, expected false", flag_path));
}

// Options that change the result unless they are null, "", 0 or false.
void TokenizerFile::expect_empty(object model, std::string_view key) const {
  element value;
  if (model.at_key(key).get(value) != simdjson::SUCCESS || value.is_null()) return;
  std::string_view text;
  double number = 0;
  bool flag = false;
  if (value.get(text) == simdjson::SUCCESS && text.empty()) return;
  if (value.get(number) == simdjson::SUCCESS && number == 0) return;
  if (value.get(flag) == simdjson::SUCCESS && !flag) return;
  refuse(fmt::format("model.{} is set", key));
}

void TokenizerFile::check_model() const {
  const auto model = required<object>(root_, "model", "model", "an object");
  expect_type(model, "model", "BPE");
  for (const std::string_view key : {"dropout", "unk_token", "continuing_subword_prefix",
                                     "end_of_word_suffix", "byte_fallback", "ignore_merges"}) {
    expect_empty(model, key);
  }
}

void TokenizerFile::check_pre_tokenizer() const {
  const auto outer = required<object>(root_, "pre_tokenizer", "pre_tokenizer", "an object");
  expect_type(outer, "pre_tokenizer", "Sequence");
  constexpr std::string_view kPath = "pre_tokenizer.pretokenizers";
  const auto steps = required<array>(outer, "pretokenizers", kPath, "an array");
  if (steps.size() != 2) {
    refuse(fmt::format("{} has {} steps, expected Split and ByteLevel", kPath, steps.size()));
  }
  constexpr std::string_view kSplit = "pre_tokenizer.pretokenizers[0]";
  constexpr std::string_view kBytes = "pre_tokenizer.pretokenizers[1]";
  const auto split = as<object>(steps.at(0), kSplit, "an object");
  expect_type(split, kSplit, "Split");
  const auto pattern =
      required<object>(split, "pattern", fmt::format("{}.pattern", kSplit), "an object");
  const auto regex = required<std::string_view>(
      pattern, "Regex", fmt::format("{}.pattern.Regex", kSplit), "a string");
  if (regex != kPiecePattern) {
    refuse(fmt::format("{}.pattern.Regex is {}, expected \"{}\"", kSplit, quoted(regex),
                       kPiecePattern));
  }
  const auto behavior =
      required<std::string_view>(split, "behavior", fmt::format("{}.behavior", kSplit), "a string");
  if (behavior != "Isolated") {
    refuse(fmt::format("{}.behavior is {}, expected \"Isolated\"", kSplit, quoted(behavior)));
  }
  expect_flag(split, "invert", kSplit, /*absent=*/false);
  const auto bytes = as<object>(steps.at(1), kBytes, "an object");
  expect_type(bytes, kBytes, "ByteLevel");
  expect_flag(bytes, "add_prefix_space", kBytes, /*absent=*/true);
  expect_flag(bytes, "use_regex", kBytes, /*absent=*/true);
}

void TokenizerFile::check_supported() const {
  check_model();
  expect_type(required<object>(root_, "normalizer", "normalizer", "an object"), "normalizer",
              "NFC");
  check_pre_tokenizer();
  expect_type(required<object>(root_, "decoder", "decoder", "an object"), "decoder", "ByteLevel");
  // ByteLevel only trims offsets there; other post-processors put tokens around the text.
  element post;
  if (root_.at_key("post_processor").get(post) == simdjson::SUCCESS && !post.is_null()) {
    expect_type(as<object>(post, "post_processor", "an object"), "post_processor", "ByteLevel");
  }
}

int32_t TokenizerFile::token_id(int64_t id, std::string_view path) const {
  if (id < 0 || id >= kMaxTokens) {
    fail(fmt::format("{}: id {} is out of range, expected 0 to {}", path, id, kMaxTokens - 1));
  }
  return static_cast<int32_t>(id);
}

std::vector<Vocabulary::Entry> TokenizerFile::entries() const {
  const auto model = required<object>(root_, "model", "model", "an object");
  const auto vocab = required<object>(model, "vocab", "model.vocab", "an object");
  std::vector<Vocabulary::Entry> entries;
  entries.reserve(vocab.size());
  for (const auto& [spelling, value] : vocab) {
    int64_t id = 0;
    if (value.get(id) != simdjson::SUCCESS) {
      fail(fmt::format("model.vocab[{}]: expected an integer, found {}", quoted(spelling),
                       type_name(value)));
    }
    Vocabulary::Entry& entry = entries.emplace_back();
    entry.id = token_id(id, "model.vocab");
    if (spelling.empty() || !append_spelled_bytes(spelling, entry.bytes)) {
      fail(fmt::format(
          "model.vocab[{}] (id {}) is not spelled in the byte alphabet; another kind of "
          "tokenizer?",
          quoted(spelling), id));
    }
  }
  return entries;
}

std::array<int32_t, 256> TokenizerFile::byte_ids(const Vocabulary& vocabulary) const {
  std::array<int32_t, 256> ids{};
  for (size_t byte = 0; byte < ids.size(); ++byte) {
    const char content = static_cast<char>(byte);
    const auto id = vocabulary.find({&content, 1});
    if (!id) fail(fmt::format("model.vocab has no token for the byte 0x{:02X}", byte));
    ids[byte] = *id;
  }
  return ids;
}

// Either spelling of a merge: "left right" or ["left", "right"].
Merge TokenizerFile::merge(const Vocabulary& vocabulary, element entry, size_t rank) const {
  std::string_view left;
  std::string_view right;
  std::string_view line;
  array pair;
  bool is_pair = false;
  if (entry.get(line) == simdjson::SUCCESS) {
    const size_t space = line.find(' ');
    is_pair = space != std::string_view::npos;
    left = line.substr(0, space);
    if (is_pair) right = line.substr(space + 1);
  } else if (entry.get(pair) == simdjson::SUCCESS) {
    is_pair = pair.size() == 2 && pair.at(0).get(left) == simdjson::SUCCESS &&
              pair.at(1).get(right) == simdjson::SUCCESS;
  }
  if (!is_pair) {
    fail(fmt::format("model.merges[{}]: expected \"left right\" or [\"left\", \"right\"]", rank));
  }
  std::string bytes;
  if (append_spelled_bytes(left, bytes)) {
    const size_t left_size = bytes.size();
    if (append_spelled_bytes(right, bytes)) {
      const std::string_view whole = bytes;
      const auto left_id = vocabulary.find(whole.substr(0, left_size));
      const auto right_id = vocabulary.find(whole.substr(left_size));
      const auto merged_id = vocabulary.find(whole);
      if (left_id && right_id && merged_id) return {*left_id, *right_id, *merged_id};
    }
  }
  fail(fmt::format("model.merges[{}]: {} and {} or what they make together is not in model.vocab",
                   rank, quoted(left), quoted(right)));
}

std::vector<Merge> TokenizerFile::merges(const Vocabulary& vocabulary) const {
  const auto model = required<object>(root_, "model", "model", "an object");
  const auto list = required<array>(model, "merges", "model.merges", "an array");
  std::vector<Merge> merges;
  for (const element entry : list) merges.push_back(merge(vocabulary, entry, merges.size()));
  return merges;
}

AddedTokens TokenizerFile::added_tokens(const Vocabulary& vocabulary) const {
  std::vector<AddedToken> tokens;
  std::unordered_set<int32_t> ids;
  std::unordered_set<std::string_view> contents;
  for (const element entry : required<array>(root_, "added_tokens", "added_tokens", "an array")) {
    const std::string path = fmt::format("added_tokens[{}]", tokens.size());
    const auto fields = as<object>(entry, path, "an object");
    const auto content =
        required<std::string_view>(fields, "content", path + ".content", "a string");
    const int32_t id =
        token_id(required<int64_t>(fields, "id", path + ".id", "an integer"), path + ".id");
    const auto special = required<bool>(fields, "special", path + ".special", "a boolean");
    if (content.empty()) fail(path + ".content is empty");
    if (!ids.insert(id).second) fail(fmt::format("{}.id {} was used before", path, id));
    if (!contents.insert(content).second) {
      fail(fmt::format("{}.content {} was used before", path, quoted(content)));
    }
    const std::string_view base = vocabulary.bytes(id);
    if (!base.empty() && base != content) {
      fail(fmt::format("{}: {} has id {}, which is another token of model.vocab", path,
                       quoted(content), id));
    }
    for (const std::string_view key : {"single_word", "lstrip", "rstrip"}) {
      expect_flag(fields, key, path, /*absent=*/false);
    }
    // Matched after NFC rather than in the raw text, which is the default of tokens but not of
    // special ones.
    expect_flag(fields, "normalized", path, /*absent=*/!special);
    tokens.push_back({std::string(content), id, special});
  }
  return AddedTokens(std::move(tokens));
}

}  // namespace

Tokenizer Tokenizer::parse(std::string_view json, std::string_view where) {
  simdjson::dom::parser parser;
  element document;
  object root;
  const auto error = parser.parse(json.data(), json.size()).get(document);
  if (error != simdjson::SUCCESS) {
    throw Error(ErrorCode::bad_input, fmt::format("{}: not valid JSON ({}); incomplete download?",
                                                  where, simdjson::error_message(error)));
  }
  if (document.get(root) != simdjson::SUCCESS) {
    throw Error(ErrorCode::bad_input,
                fmt::format("{}: expected an object, found {}", where, type_name(document)));
  }
  const TokenizerFile file(root, where);
  file.check_supported();
  Vocabulary vocabulary(file.entries(), where);
  BytePairEncoder encoder(file.byte_ids(vocabulary), file.merges(vocabulary));
  AddedTokens added = file.added_tokens(vocabulary);
  return Tokenizer(std::move(vocabulary), std::move(encoder), std::move(added));
}

}  // namespace squint::text
