#include "base/json.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "squint/error.h"

namespace squint {
namespace {

constexpr int kMaxDepth = 256;

// The parser recurses per nesting level when it destroys a value: bound it before parsing.
void check_depth(std::string_view text, std::string_view where) {
  int depth = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '[' || c == '{') {
      if (++depth > kMaxDepth) {
        throw Error(
            ErrorCode::bad_input,
            fmt::format("{}: JSON nested deeper than {} levels at byte {}", where, kMaxDepth, i));
      }
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
}

template <class Value>
Value parse(std::string_view text, std::string_view where) {
  if (text.find_first_not_of(" \t\r\n") == std::string_view::npos) {
    throw Error(ErrorCode::bad_input,
                fmt::format("{}: expected JSON, found nothing; an interrupted "
                            "copy or download?",
                            where));
  }
  check_depth(text, where);
  try {
    return Value::parse(text);
  } catch (const nlohmann::json::exception& e) {
    // "[json.exception.parse_error.101] parse error at line 1, column 2: ..." without the tag.
    const std::string_view what = e.what();
    const size_t tag = what.find("] ");
    throw Error(ErrorCode::bad_input,
                fmt::format("{}: not valid JSON: {}", where,
                            tag == std::string_view::npos ? what : what.substr(tag + 2)));
  }
}

[[noreturn]] void wrong_type(std::string_view key, std::string_view where, const char* expected,
                             const Json& found) {
  throw Error(ErrorCode::bad_input, fmt::format("{}: \"{}\" should be {}, but is {}", where, key,
                                                expected, found.type_name()));
}

}  // namespace

Json parse_json(std::string_view text, std::string_view where) { return parse<Json>(text, where); }

OrderedJson parse_ordered_json(std::string_view text, std::string_view where) {
  return parse<OrderedJson>(text, where);
}

const Json& member(const Json& object, std::string_view key, std::string_view where) {
  if (!object.is_object()) {
    throw Error(ErrorCode::bad_input, fmt::format("{}: expected an object with \"{}\", found {}",
                                                  where, key, object.type_name()));
  }
  const auto it = object.find(key);
  if (it == object.end()) {
    throw Error(ErrorCode::bad_input, fmt::format("{}: \"{}\" is missing", where, key));
  }
  return *it;
}

int64_t int_member(const Json& object, std::string_view key, std::string_view where) {
  const Json& value = member(object, key, where);
  if (value.is_number_unsigned() && value.get<uint64_t>() > INT64_MAX) {
    wrong_type(key, where, "an integer below 2^63", value);
  }
  if (!value.is_number_integer()) wrong_type(key, where, "an integer", value);
  return value.get<int64_t>();
}

double number_member(const Json& object, std::string_view key, std::string_view where) {
  const Json& value = member(object, key, where);
  if (!value.is_number()) wrong_type(key, where, "a number", value);
  return value.get<double>();
}

bool bool_member(const Json& object, std::string_view key, std::string_view where) {
  const Json& value = member(object, key, where);
  if (!value.is_boolean()) wrong_type(key, where, "true or false", value);
  return value.get<bool>();
}

std::string string_member(const Json& object, std::string_view key, std::string_view where) {
  const Json& value = member(object, key, where);
  if (!value.is_string()) wrong_type(key, where, "a string", value);
  return value.get<std::string>();
}

}  // namespace squint
