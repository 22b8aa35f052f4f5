// What Tokenizer::parse accepts and refuses.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <optional>

#include "base/json.h"
#include "squint/error.h"
#include "support/paths.h"
#include "text/tokenizer.h"

namespace squint::text {
namespace {

using nlohmann::ordered_json;
using Pointer = ordered_json::json_pointer;

const ordered_json& reader_json() {
  static const ordered_json json = parse_ordered_json(
      test::read_text(test::repo_dir() / "models/reader/tokenizer.json"), "test");
  return json;
}

Tokenizer parse(const ordered_json& json) { return Tokenizer::parse(json.dump(), "t.json"); }

struct Refusal {
  ErrorCode code;
  std::string message;
};

std::optional<Refusal> refusal_of(std::string_view json) {
  try {
    Tokenizer::parse(json, "t.json");
  } catch (const Error& error) {
    return Refusal{error.code(), error.what()};
  }
  return std::nullopt;
}

TEST(TokenizerFile, BothSpellingsOfMergesMeanTheSame) {
  ordered_json lines = reader_json();
  for (ordered_json& merge : lines["model"]["merges"]) {
    ASSERT_TRUE(merge.is_array());
    merge = merge[0].get<std::string>() + " " + merge[1].get<std::string>();
  }
  const std::string text = "Reading the words of a small tokenizer, twice. 你好";
  EXPECT_LT(parse(lines).encode(text).size(), text.size());
  EXPECT_EQ(parse(lines).encode(text), parse(reader_json()).encode(text));
}

TEST(TokenizerFile, IdsMayHaveGapsAndAddedTokensMayBeAnywhere) {
  ordered_json json = reader_json();
  json["added_tokens"] = {{{"id", 2000}, {"content", "<x>"}, {"special", true}},
                          {{"id", 0}, {"content", "!"}, {"special", true}}};
  const Tokenizer tokenizer = parse(json);
  EXPECT_EQ(tokenizer.size(), 2001);
  EXPECT_EQ(tokenizer.bytes(1500), "");
  EXPECT_EQ(tokenizer.encode("<x>!"), (std::vector<int32_t>{2000, 0}));
  EXPECT_EQ(tokenizer.decode(tokenizer.encode("<x>!a"), /*skip_special=*/true), "a");
}

TEST(TokenizerFile, WhatMayBeAbsentMayBeAbsent) {
  ordered_json json = reader_json();
  for (const char* key : {"dropout", "unk_token", "fuse_unk", "byte_fallback", "ignore_merges",
                          "continuing_subword_prefix", "end_of_word_suffix"}) {
    json["model"].erase(key);
  }
  json.erase("post_processor");
  json["model"]["dropout"] = 0.0;
  json["added_tokens"] = ordered_json::array();
  EXPECT_EQ(parse(json).size(), 998);
}

struct Change {
  const char* where;  // JSON pointer
  ordered_json value;
  ErrorCode code;
  const char* message;
};

TEST(TokenizerFile, RefusesWhatItWouldGetWrong) {
  constexpr auto kBad = ErrorCode::bad_input;
  constexpr auto kUnsupported = ErrorCode::unsupported;
  const Change changes[] = {
      {"/model", nullptr, kBad, "model: expected an object, found null"},
      {"/model/type", "WordPiece", kUnsupported, "model.type is \"WordPiece\", expected \"BPE\""},
      {"/model/dropout", 0.1, kUnsupported, "model.dropout is set"},
      {"/model/unk_token", "<unk>", kUnsupported, "model.unk_token is set"},
      {"/model/continuing_subword_prefix", "##", kUnsupported, "model.continuing_subword_prefix"},
      {"/model/end_of_word_suffix", "</w>", kUnsupported, "model.end_of_word_suffix is set"},
      {"/model/byte_fallback", true, kUnsupported, "model.byte_fallback is set"},
      {"/model/ignore_merges", true, kUnsupported, "model.ignore_merges is set"},
      {"/normalizer", nullptr, kBad, "normalizer: expected an object, found null"},
      {"/normalizer/type", "NFKC", kUnsupported, "normalizer.type is \"NFKC\""},
      {"/pre_tokenizer/type", "ByteLevel", kUnsupported, "pre_tokenizer.type"},
      {"/pre_tokenizer/pretokenizers", ordered_json::array(), kUnsupported, "has 0 steps"},
      {"/pre_tokenizer/pretokenizers/0/type", "Digits", kUnsupported, "[0].type is \"Digits\""},
      {"/pre_tokenizer/pretokenizers/0/pattern", {{"String", " "}}, kBad, "pattern.Regex"},
      {"/pre_tokenizer/pretokenizers/0/pattern/Regex", "\\p{N}{1,3}", kUnsupported,
       "Regex is \"\\p{N}{1,3}\", expected \"(?i:'s"},
      {"/pre_tokenizer/pretokenizers/0/behavior", "Removed", kUnsupported,
       "behavior is \"Removed\""},
      {"/pre_tokenizer/pretokenizers/0/invert", true, kUnsupported, "invert is true"},
      {"/pre_tokenizer/pretokenizers/1/type", "Split", kUnsupported, "[1].type is \"Split\""},
      {"/pre_tokenizer/pretokenizers/1/add_prefix_space", true, kUnsupported, "add_prefix_space"},
      {"/pre_tokenizer/pretokenizers/1/use_regex", true, kUnsupported, "use_regex is true"},
      {"/decoder/type", "WordPiece", kUnsupported, "decoder.type is \"WordPiece\""},
      {"/post_processor/type", "TemplateProcessing", kUnsupported, "post_processor.type"},
      {"/model/vocab", ordered_json::array(), kBad, "model.vocab: expected an object"},
      {"/model/vocab/!", "0", kBad, "model.vocab[\"!\"]: expected an integer, found a string"},
      {"/model/vocab/!", 1.5, kBad, "found a number"},
      {"/model/vocab/!", -1, kBad, "id -1 is out of range"},
      {"/model/vocab/!", 1 << 21, kBad, "id 2097152 is out of range"},
      {"/model/vocab/!", 1, kBad, "id 1 appears twice"},
      {"/model/vocab/not spelled", 1500, kBad, "is not spelled in the byte alphabet"},
      {"/model/merges", "a b", kBad, "model.merges: expected an array"},
      {"/model/merges/5", "ab", kBad, "model.merges[5]: expected \"left right\""},
      {"/model/merges/5", {"a", "b", "c"}, kBad, "model.merges[5]: expected"},
      {"/model/merges/5", {"a", 1}, kBad, "model.merges[5]: expected"},
      {"/model/merges/5", 5, kBad, "model.merges[5]: expected"},
      {"/model/merges/5", "Z Z", kBad, "model.merges[5]: \"Z\" and \"Z\" or what they make"},
      {"/model/merges/5", "a b c", kBad, "is not in model.vocab"},
      {"/model/merges/5", " a", kBad, "is not in model.vocab"},
      {"/added_tokens", nullptr, kBad, "added_tokens: expected an array"},
      {"/added_tokens/1/content", "", kBad, "added_tokens[1].content is empty"},
      {"/added_tokens/1/content", "<|endoftext|>", kBad, "was used before"},
      {"/added_tokens/1/id", 998, kBad, "added_tokens[1].id 998 was used before"},
      {"/added_tokens/1/id", 5, kBad, "which is another token of model.vocab"},
      {"/added_tokens/1/id", -7, kBad, "added_tokens[1].id: id -7 is out of range"},
      {"/added_tokens/1/special", 1, kBad, "added_tokens[1].special: expected a boolean"},
      {"/added_tokens/1/lstrip", true, kUnsupported, "added_tokens[1].lstrip is true"},
      {"/added_tokens/1/rstrip", true, kUnsupported, "added_tokens[1].rstrip is true"},
      {"/added_tokens/1/single_word", true, kUnsupported, "added_tokens[1].single_word is true"},
      {"/added_tokens/1/normalized", true, kUnsupported, "added_tokens[1].normalized is true"},
  };
  for (const Change& change : changes) {
    SCOPED_TRACE(std::string(change.where) + " = " + change.value.dump());
    ordered_json json = reader_json();
    json[Pointer(change.where)] = change.value;
    const auto refusal = refusal_of(json.dump());
    if (!refusal) {
      ADD_FAILURE() << "accepted";
      continue;
    }
    EXPECT_EQ(refusal->code, change.code) << refusal->message;
    EXPECT_NE(refusal->message.find(change.message), std::string::npos) << refusal->message;
    EXPECT_EQ(refusal->message.rfind("t.json: ", 0), 0u) << refusal->message;
  }
}

TEST(TokenizerFile, RefusesWhatIsMissing) {
  for (const char* where :
       {"/model", "/model/type", "/model/vocab", "/model/merges", "/normalizer", "/normalizer/type",
        "/pre_tokenizer", "/pre_tokenizer/pretokenizers", "/pre_tokenizer/pretokenizers/0/pattern",
        "/pre_tokenizer/pretokenizers/0/behavior", "/pre_tokenizer/pretokenizers/1/use_regex",
        "/decoder", "/added_tokens", "/added_tokens/3/id", "/added_tokens/3/content",
        "/added_tokens/3/special", "/model/vocab/A"}) {
    ordered_json json = reader_json();
    const Pointer pointer(where);
    json[pointer.parent_pointer()].erase(pointer.back());
    EXPECT_TRUE(refusal_of(json.dump())) << where;
  }
}

TEST(TokenizerFile, RefusesWhatIsNoJson) {
  const std::string whole = reader_json().dump();
  for (const std::string& text : {std::string(), std::string("[]"), std::string("null"),
                                  std::string("{"), whole.substr(0, whole.size() / 2), whole + "x",
                                  std::string(100000, '['), std::string("{\"model\": \"\xff\"}")}) {
    const auto refusal = refusal_of(text);
    ASSERT_TRUE(refusal) << text.substr(0, 40);
    EXPECT_EQ(refusal->code, ErrorCode::bad_input);
  }
}

}  // namespace
}  // namespace squint::text
