#include "base/json.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "squint/error.h"

namespace squint {
namespace {

// The message of the Error(bad_input) that `action` throws.
template <class Action>
std::string refusal(Action&& action) {
  try {
    action();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::bad_input);
    return e.what();
  }
  ADD_FAILURE() << "nothing was thrown";
  return "";
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST(Json, ReadsValues) {
  const Json value = parse_json(R"({"a": [1, 2.5, "x", null, true]})", "config.json");
  EXPECT_EQ(value.at("a").size(), 5u);
  EXPECT_EQ(value.at("a").at(1), 2.5);
}

TEST(Json, ErrorsSayWhere) {
  for (const char* text :
       {"{", "[1,]", "{\"a\" 1}", "nul", "1 2", "\"\xff\"", "{\"a\":1}}", "\x01"}) {
    const std::string message = refusal([&] { parse_json(text, "results.jsonl line 7"); });
    EXPECT_TRUE(message.starts_with("results.jsonl line 7: not valid JSON: ")) << message;
    EXPECT_FALSE(contains(message, "[json.exception")) << message;
  }
  EXPECT_TRUE(contains(refusal([] { parse_json("{\"a\": x}", "f"); }), "column 7"));
}

TEST(Json, AnEmptyFileIsNamedAsSuch) {
  for (const char* text : {"", " \n\t\r "}) {
    EXPECT_TRUE(contains(refusal([&] { parse_json(text, "config.json"); }), "found nothing"));
  }
}

TEST(Json, NestingIsBounded) {
  const auto nested = [](size_t depth) {
    return std::string(depth, '[') + std::string(depth, ']');
  };
  EXPECT_NO_THROW(parse_json(nested(256), "f"));
  EXPECT_TRUE(contains(refusal([&] { parse_json(nested(257), "f"); }), "byte 256"));
  // A million levels would otherwise end the process.
  EXPECT_TRUE(contains(refusal([&] { parse_json(std::string(1 << 20, '['), "f"); }), "deeper"));
  std::string objects;
  for (int i = 0; i < 300; ++i) objects += "{\"a\":";
  EXPECT_TRUE(contains(refusal([&] { parse_json(objects, "f"); }), "deeper"));
}

TEST(Json, BracketsInStringsAreNotNesting) {
  const std::string text = "[\"" + std::string(1000, '[') + "\\\"" + std::string(1000, '{') + "\"]";
  EXPECT_EQ(parse_json(text, "f").at(0).get<std::string>().size(), 2001u);
  // Closed levels do not add up.
  std::string flat = "[";
  for (int i = 0; i < 1000; ++i) flat += "[],";
  EXPECT_EQ(parse_json(flat + "[]]", "f").size(), 1001u);
}

TEST(Json, OrderedKeepsTheOrderOfKeys) {
  const std::string text = R"({"z":1,"a":{"y":2,"b":3}})";
  EXPECT_EQ(parse_ordered_json(text, "f").dump(), text);
  EXPECT_TRUE(contains(refusal([] { parse_ordered_json("{", "f"); }), "f: not valid JSON"));
}

TEST(Json, Members) {
  const Json object = parse_json(
      R"({"i": -3, "n": 2.5, "b": true, "s": "x", "big": 9223372036854775807,
          "huge": 9223372036854775808, "null": null})",
      "f");
  EXPECT_EQ(int_member(object, "i", "f"), -3);
  EXPECT_EQ(int_member(object, "big", "f"), INT64_MAX);
  EXPECT_EQ(number_member(object, "n", "f"), 2.5);
  EXPECT_EQ(number_member(object, "i", "f"), -3.0);
  EXPECT_TRUE(bool_member(object, "b", "f"));
  EXPECT_EQ(string_member(object, "s", "f"), "x");
  EXPECT_TRUE(member(object, "null", "f").is_null());
}

TEST(Json, WrongMembersAreExplained) {
  const Json object =
      parse_json(R"({"i": 1, "n": 2.5, "s": "x", "huge": 9223372036854775808})", "f");
  EXPECT_EQ(refusal([&] { int_member(object, "n", "config.json"); }),
            "config.json: \"n\" should be an integer, but is number");
  EXPECT_TRUE(contains(refusal([&] { int_member(object, "huge", "f"); }), "below 2^63"));
  EXPECT_TRUE(contains(refusal([&] { int_member(object, "s", "f"); }), "but is string"));
  EXPECT_TRUE(contains(refusal([&] { number_member(object, "s", "f"); }), "a number"));
  EXPECT_TRUE(contains(refusal([&] { bool_member(object, "i", "f"); }), "true or false"));
  EXPECT_TRUE(contains(refusal([&] { string_member(object, "i", "f"); }), "a string"));
  EXPECT_EQ(refusal([&] { member(object, "gone", "config.json"); }),
            "config.json: \"gone\" is missing");
  EXPECT_TRUE(contains(refusal([] { member(parse_json("[1]", "f"), "a", "f"); }), "found array"));
}

}  // namespace
}  // namespace squint
