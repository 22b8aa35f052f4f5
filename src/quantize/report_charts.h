// report_charts.h: the charts of a report's page, as inline SVG.
//
// What a mark looks like is said by its class in the page's style sheet (report_style.cpp): one
// drawing serves light, dark and paper. Under the pointer a mark says its numbers (<title>).
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "squint/quantize.h"

namespace squint::quantize {

// In the units of the drawing, which are pixels where it is shown in its own size.
struct ChartSize {
  int width = 0;
  int height = 0;
};

// A logarithmic axis for shares, from one of 1, 2, 5 times a power of ten to another.
struct ErrorAxis {
  double low = 0.01;
  double high = 0.1;

  static ErrorAxis over(std::span<const LinearReport> linears);
  double at(double value) const;  // 0..1, values beyond the ends at the ends
  std::vector<double> ticks() const;
};

struct ErrorMark {
  int64_t layer = 0;
  double error = 0;
  double plain = 0;
  std::string what;  // "layer 3 q_proj"
};
// A dot for the error, a dash for plain rounding's, joined; from the left in the order given.
std::string error_chart(std::span<const ErrorMark> marks, const ErrorAxis& axis, ChartSize size,
                        std::string_view label);

std::string scale_chart(const ScaleHistogram& scales, ChartSize size, std::string_view label);

// The strengths of one group over the layers: full dots with duo scaling, rings without, a cross
// where it was rolled back.
std::string strength_chart(std::span<const SmoothingReport* const> group, ChartSize size,
                           std::string_view label);

}  // namespace squint::quantize
