#include "quantize/yaml_reader.h"

#include <algorithm>
#include <cctype>
#include <vector>

#include "quantize/nearest_name.h"

namespace squint::quantize {

using Kind = YamlNode::Kind;

void YamlReader::fail(ErrorCode code, int line, std::string_view what) const {
  throw Error(code, fmt::format("{} line {}: {}", where_, line, what));
}

std::span<const YamlNode> YamlReader::members(const YamlNode& node) const {
  if (node.kind != Kind::map && node.kind != Kind::null) {
    refuse(node, fmt::format("{}expected keys and values", named(node)));
  }
  return node.items;
}

const std::string& YamlReader::text(const YamlNode& node) const {
  if (node.kind != Kind::scalar) refuse(node, fmt::format("{}expected one value", named(node)));
  return node.text;
}

bool YamlReader::boolean(const YamlNode& node) const {
  std::string word = text(node);
  std::ranges::transform(word, word.begin(), [](unsigned char c) { return std::tolower(c); });
  if (word == "true" || word == "yes" || word == "on") return true;
  if (word == "false" || word == "no" || word == "off") return false;
  refuse(node, fmt::format("{}expected true or false, found \"{}\"", named(node), node.text));
}

void YamlReader::take(const YamlNode& node, const Keys& keys) const {
  for (const YamlNode& value : members(node)) {
    const auto it = keys.find(value.key);
    if (it == keys.end()) {
      std::vector<std::string_view> known;
      for (const auto& [name, handler] : keys) known.push_back(name);
      refuse(value, fmt::format("unknown key \"{}\"; is \"{}\" meant?", value.key,
                                nearest(value.key, known)));
    }
    if (value.kind != Kind::null) it->second(value);
  }
}

}  // namespace squint::quantize
