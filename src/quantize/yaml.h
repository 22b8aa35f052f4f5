// yaml.h: a small YAML or JSON document as a tree, with the lines on which things stand.
//
// For files that people write and pass on: what can make a small file large or surprising (anchors,
// tags, several documents, a key twice, deep nesting) is refused.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace squint::quantize {

inline constexpr int64_t kMaxYamlBytes = 1'000'000;

struct YamlNode {
  enum class Kind : uint8_t { null, scalar, list, map };
  Kind kind = Kind::null;
  int line = 1;                 // of a map's member, that of its key
  std::string key;              // of a map's member
  std::string text;             // of a scalar
  std::vector<YamlNode> items;  // of a list or a map, in their order
};

// `where` starts the messages of Error(bad_input) and Error(unsupported). An empty text is null.
YamlNode parse_yaml(std::string_view text, std::string_view where);

}  // namespace squint::quantize
