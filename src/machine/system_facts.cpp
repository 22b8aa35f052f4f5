#include "machine/system_facts.h"

#include <algorithm>
#include <charconv>

namespace squint::machine {
namespace {

std::string_view trimmed(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t");
  if (begin == text.npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t\r") - begin + 1);
}

// The value of the first line "name : value".
std::string_view value_of(std::string_view text, std::string_view name) {
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    const size_t colon = line.find(':');
    if (colon != line.npos && trimmed(line.substr(0, colon)) == name) {
      return trimmed(line.substr(colon + 1));
    }
  }
  return {};
}

std::optional<int64_t> number(std::string_view text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || value < 0) return std::nullopt;
  return value;
}

}  // namespace

std::string processor_name(std::string_view cpuinfo) {
  return std::string(value_of(cpuinfo, "model name"));
}

std::vector<std::string> instruction_sets(std::string_view cpuinfo,
                                          const std::vector<std::string>& wanted) {
  const std::string flags = " " + std::string(value_of(cpuinfo, "flags")) + " ";
  std::vector<std::string> out;
  for (const std::string& name : wanted) {
    if (flags.find(" " + name + " ") != flags.npos) out.push_back(name);
  }
  return out;
}

std::optional<int64_t> memory_fact(std::string_view meminfo, std::string_view name) {
  const auto kibibytes = number(value_of(meminfo, name));
  if (!kibibytes || *kibibytes > INT64_MAX / 1024) return std::nullopt;
  return *kibibytes * 1024;
}

std::optional<int64_t> container_limit(std::string_view text) { return number(text); }

std::string graphics_card_name(std::string_view information) {
  return std::string(value_of(information, "Model"));
}

}  // namespace squint::machine
