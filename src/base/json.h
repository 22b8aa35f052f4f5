// json.h: reading JSON that came from outside, with errors that say where.
//
// nlohmann's full header is heavy: include it in the .cpp files that build or take apart values;
// headers take the forward declaration that this file brings.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace squint {

using Json = nlohmann::json;
using OrderedJson = nlohmann::ordered_json;

// Parses one JSON value. `where` (a file name, "results.jsonl line 7") starts the message of
// Error(bad_input), which also carries the byte and the parser's reason. Nesting is limited to 256.
Json parse_json(std::string_view text, std::string_view where);
// The same, keeping the order of keys: for files that are written back as they were.
OrderedJson parse_ordered_json(std::string_view text, std::string_view where);

// Members of an object, or Error(bad_input) naming `where`, the key, the expected and found type.
const Json& member(const Json& object, std::string_view key, std::string_view where);
int64_t int_member(const Json& object, std::string_view key, std::string_view where);
double number_member(const Json& object, std::string_view key, std::string_view where);
bool bool_member(const Json& object, std::string_view key, std::string_view where);
std::string string_member(const Json& object, std::string_view key, std::string_view where);

}  // namespace squint
