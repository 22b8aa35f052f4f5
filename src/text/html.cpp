#include "text/html.h"

#include "text/utf8.h"

namespace squint::text {

std::string escaped(std::string_view text) {
  std::string valid;
  append_repaired(text, valid);
  std::string out;
  for (const char c : valid) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default: {
        const bool control = static_cast<unsigned char>(c) < 0x20 && c != '\n' && c != '\t';
        if (control || c == 0x7F) {
          append_utf8(0xFFFD, out);
        } else {
          out += c;
        }
      }
    }
  }
  return out;
}

}  // namespace squint::text
