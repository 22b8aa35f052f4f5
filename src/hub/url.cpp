#include "hub/url.h"

#include <algorithm>
#include <cctype>

namespace squint::hub {
namespace {

std::string encode(std::string_view text, std::string_view kept) {
  static constexpr char kHex[] = "0123456789ABCDEF";
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    const bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    if (plain || kept.find(c) != std::string_view::npos) {
      out += c;
    } else {
      out += '%';
      out += kHex[byte >> 4];
      out += kHex[byte & 15];
    }
  }
  return out;
}

std::string lower(std::string_view text) {
  std::string out(text);
  std::ranges::transform(out, out.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return out;
}

// Length of "scheme://authority", or npos.
size_t end_of_authority(std::string_view url) {
  const size_t scheme = url.find("://");
  if (scheme == std::string_view::npos) return scheme;
  return std::min(url.find_first_of("/?#", scheme + 3), url.size());
}

}  // namespace

std::string encode_component(std::string_view text) { return encode(text, "-._~"); }
std::string encode_path(std::string_view path) { return encode(path, "-._~/"); }

std::optional<std::string> origin_of(std::string_view url) {
  for (const char c : url) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte <= ' ' || byte == 0x7F || c == '\\') return std::nullopt;
  }
  const size_t end = end_of_authority(url);
  if (end == std::string_view::npos) return std::nullopt;
  std::string origin = lower(url.substr(0, end));
  const size_t authority = origin.find("://") + 3;
  const std::string scheme = origin.substr(0, authority);
  if (scheme != "http://" && scheme != "https://") return std::nullopt;
  if (authority == origin.size() || origin.find('@') != std::string::npos) return std::nullopt;
  const std::string usual_port = scheme == "http://" ? ":80" : ":443";
  if (origin.size() - authority > usual_port.size() && origin.ends_with(usual_port)) {
    origin.resize(origin.size() - usual_port.size());
  }
  return origin;
}

std::string resolve(std::string_view base, std::string_view location) {
  const size_t colon = location.find("://");
  if (colon != std::string_view::npos && colon < location.find_first_of("/?#")) {
    return std::string(location);
  }
  const size_t root = std::min(end_of_authority(base), base.size());
  if (location.starts_with("//")) {
    return std::string(base.substr(0, base.find("//"))) + std::string(location);
  }
  if (location.starts_with("/")) return std::string(base.substr(0, root)) + std::string(location);
  const std::string_view path = base.substr(0, std::min(base.find_first_of("?#"), base.size()));
  const size_t slash = path.rfind('/');
  if (slash < root || slash == std::string_view::npos) {
    return std::string(base.substr(0, root)) + "/" + std::string(location);
  }
  return std::string(path.substr(0, slash + 1)) + std::string(location);
}

std::string shown(std::string_view url) {
  std::string out(url.substr(0, std::min(url.find_first_of("?#"), url.size())));
  const size_t scheme = out.find("://");
  const size_t user = out.find('@');
  if (scheme != std::string::npos && user != std::string::npos) {
    out.erase(scheme + 3, user - scheme - 2);
  }
  return out;
}

}  // namespace squint::hub
