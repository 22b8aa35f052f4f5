// yaml_reader.h: nodes of a YAML document as values, each refused with the line where it stands.
#pragma once

#include <fmt/format.h>

#include <charconv>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <system_error>

#include "quantize/yaml.h"
#include "squint/error.h"

namespace squint::quantize {

class YamlReader {
 public:
  using Handler = std::function<void(const YamlNode&)>;
  using Keys = std::map<std::string, Handler, std::less<>>;

  // `where` starts messages and must outlive the reader.
  explicit YamlReader(std::string_view where) : where_(where) {}
  std::string_view where() const { return where_; }

  [[noreturn]] void fail(ErrorCode code, int line, std::string_view what) const;
  [[noreturn]] void refuse(const YamlNode& node, std::string_view what) const {
    fail(ErrorCode::bad_input, node.line, what);
  }
  [[noreturn]] void cannot(const YamlNode& node, std::string_view what) const {
    fail(ErrorCode::unsupported, node.line, what);
  }

  std::span<const YamlNode> members(const YamlNode& node) const;
  const std::string& text(const YamlNode& node) const;
  bool boolean(const YamlNode& node) const;
  template <class Value>
  Value number(const YamlNode& node, Value least, Value most) const {
    return number_in(node.line, named(node), text(node), least, most);
  }
  template <class Value>
  Value number_in(int line, std::string_view name, std::string_view value, Value least,
                  Value most) const {
    Value parsed{};
    const char* end = value.data() + value.size();
    const auto [stop, error] = std::from_chars(value.data(), end, parsed);
    if (error == std::errc() && stop == end && parsed >= least && parsed <= most) return parsed;
    fail(ErrorCode::bad_input, line,
         fmt::format("{}expected {} to {}, found \"{}\"", name, least, most, value));
  }

  // Calls the handler of every key. A null is as good as none.
  void take(const YamlNode& node, const Keys& keys) const;

  static std::string named(const YamlNode& node) { return node.key.empty() ? "" : node.key + ": "; }

 private:
  std::string_view where_;
};

}  // namespace squint::quantize
