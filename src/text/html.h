// html.h: text that stands in a page.
#pragma once

#include <string>
#include <string_view>

namespace squint::text {

// As HTML shows it: markup escaped; what is no UTF-8, and control characters but tab and line feed,
// which pages may not hold, become U+FFFD.
std::string escaped(std::string_view text);

}  // namespace squint::text
