// url.h: the little of URLs that requests need.
//
// What a server sends as an address is judged strictly: an address that two programs could read as
// two hosts (user names, backslashes, spaces) is none.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace squint::hub {

// Everything but letters, digits and "-._~" as %XX; encode_path also leaves "/".
std::string encode_component(std::string_view text);
std::string encode_path(std::string_view path);

// "https://host:port" in lower case, without the scheme's usual port; nothing for what is no plain
// http or https address. Two addresses with one origin are one server.
std::optional<std::string> origin_of(std::string_view url);

// The absolute address that `location`, absolute or relative, means in an answer from `base`.
std::string resolve(std::string_view base, std::string_view location);

// For messages: without query, which may hold a signature, and fragment.
std::string shown(std::string_view url);

}  // namespace squint::hub
