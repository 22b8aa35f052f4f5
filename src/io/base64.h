// base64.h: base64 (RFC 4648 §4), padded, line breaks allowed.
#pragma once

#include <string>
#include <string_view>

namespace squint::io {

std::string encode_base64(std::string_view bytes);  // on one line
// Throws Error(bad_input), naming `where`, for anything else.
std::string decode_base64(std::string_view text, std::string_view where);

}  // namespace squint::io
