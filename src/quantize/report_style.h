// report_style.h: how the page of a report looks, on a screen in light and dark, and on paper.
#pragma once

#include <string_view>

namespace squint::quantize {

extern const std::string_view kReportStyle;  // CSS; loads nothing

}  // namespace squint::quantize
