#include "text/tokenizer_goldens.h"

#include <gtest/gtest.h>

#include <functional>
#include <nlohmann/json.hpp>
#include <sstream>

#include "support/json.h"
#include "support/paths.h"
#include "text/stream_decoder.h"

namespace squint::text {
namespace {

std::string streamed(const Tokenizer& tokenizer, const std::vector<int32_t>& ids,
                     bool skip_special) {
  StreamDecoder decoder(tokenizer, skip_special);
  std::string text;
  for (const int32_t id : ids) text += decoder.push(id);
  return text + decoder.finish();
}

void for_each_line(std::string_view lines, int expected_lines,
                   const std::function<void(const nlohmann::json&)>& check) {
  std::istringstream in{std::string(lines)};
  int count = 0;
  for (std::string line; std::getline(in, line);) {
    SCOPED_TRACE("line " + std::to_string(++count));
    check(test::json_of(line));
  }
  EXPECT_EQ(count, expected_lines);
}

}  // namespace

const Tokenizer& reader_tokenizer() {
  static const Tokenizer tokenizer = Tokenizer::parse(
      test::read_text(test::repo_dir() / "models/reader/tokenizer.json"), "tokenizer.json");
  return tokenizer;
}

void expect_texts(const Tokenizer& tokenizer, std::string_view lines, int expected_lines) {
  for_each_line(lines, expected_lines, [&](const nlohmann::json& line) {
    const auto ids = line.at("ids").get<std::vector<int32_t>>();
    EXPECT_EQ(tokenizer.encode(line.at("text").get<std::string>()), ids);
    for (const bool skip_special : {false, true}) {
      const auto expected = line.at(skip_special ? "visible" : "decoded").get<std::string>();
      EXPECT_EQ(tokenizer.decode(ids, skip_special), expected);
      EXPECT_EQ(streamed(tokenizer, ids, skip_special), expected);
    }
  });
}

void expect_decoded(const Tokenizer& tokenizer, std::string_view lines, int expected_lines) {
  for_each_line(lines, expected_lines, [&](const nlohmann::json& line) {
    const auto ids = line.at("ids").get<std::vector<int32_t>>();
    EXPECT_EQ(tokenizer.decode(ids, /*skip_special=*/false), line.at("decoded").get<std::string>());
  });
}

}  // namespace squint::text
