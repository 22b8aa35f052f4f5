// report_style.h: how the page of a report looks, on a screen in light and dark, and on paper, and
// the parts that all such pages have.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>

namespace squint::quantize {

extern const std::string_view kReportStyle;  // CSS; loads nothing

// `label` and `value` are HTML, `note` is text.
std::string tile(std::string_view label, std::string_view value, std::string_view note);
// Of a table; cells are HTML.
std::string table_row(std::initializer_list<std::string> cells, std::string_view tag = "td");

}  // namespace squint::quantize
