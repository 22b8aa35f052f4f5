#include "quantize/report_charts.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "quantize/report_view.h"
#include "text/html.h"

namespace squint::quantize {
namespace {

using text::escaped;

constexpr int kRight = 10;
constexpr int kTop = 10;
constexpr int kBottom = 34;

// The plot inside its margins: `across` and `up` are 0..1.
struct Plot {
  ChartSize size;
  int left;

  double width() const { return size.width - left - kRight; }
  double height() const { return size.height - kTop - kBottom; }
  double bottom() const { return size.height - kBottom; }
  double x(double across) const { return left + across * width(); }
  double y(double up) const { return kTop + (1 - up) * height(); }
};

std::string opening(ChartSize size, std::string_view label) {
  return fmt::format(R"(<svg viewBox="0 0 {} {}" role="img" aria-label="{}">)", size.width,
                     size.height, escaped(label));
}

std::string text(double x, double y, std::string_view anchor, std::string_view content) {
  return fmt::format(R"(<text x="{:.1f}" y="{:.1f}" class="{}">{}</text>)", x, y, anchor, content);
}

// A line across the plot with its value before it.
std::string grid_line(const Plot& plot, double up, std::string_view content) {
  return fmt::format(R"(<path class="line" d="M{} {:.1f}h{:.0f}"/>)", plot.left, plot.y(up),
                     plot.width()) +
         text(plot.left - 6, plot.y(up) + 4, "end", content);
}

// Some of the layers below the plot: as many as have room.
template <class LayerOf>
std::string layer_names(const Plot& plot, size_t count, LayerOf layer_of) {
  static constexpr size_t kSteps[] = {1, 2, 4, 5, 8, 10, 20, 50};
  const size_t room = static_cast<size_t>(plot.width()) / 28;
  const auto* step = std::ranges::find_if(kSteps, [&](size_t s) { return count <= s * room; });
  const size_t every = step == std::end(kSteps) ? 100 : *step;
  std::string out;
  for (size_t i = 0; i < count; i += every) {
    const double across = (static_cast<double>(i) + 0.5) / static_cast<double>(count);
    out += text(plot.x(across), plot.bottom() + 15, "mid", fmt::format("{}", layer_of(i)));
  }
  return out + text(plot.x(0.5), plot.bottom() + 30, "mid", "layer");
}

// An invisible column that says what stands in it.
std::string hover(const Plot& plot, double from, double to, std::string_view title) {
  return fmt::format(
      R"(<rect class="hit" x="{:.1f}" y="{}" width="{:.1f}" height="{:.0f}"><title>{}</title></rect>)",
      plot.x(from), kTop, (to - from) * plot.width(), plot.height(), escaped(title));
}

std::string path(std::string_view style, const std::string& d) {
  return d.empty() ? "" : fmt::format(R"(<path class="{}" d="{}"/>)", style, d);
}

std::string dot(double x, double y) {
  return fmt::format("M{:.1f} {:.1f}a3 3 0 1 0 6 0a3 3 0 1 0-6 0", x - 3, y);
}

std::string tick_text(double share) { return fmt::format("{:g} %", 100 * share); }

// The largest of 1, 2, 5 times a power of ten that is not above `value`, or the next above that.
double round_number(double value, bool above) {
  const double power = std::pow(10, std::floor(std::log10(value)));
  for (const double factor : {5.0, 2.0, 1.0}) {
    if (factor * power > value * (1 + 1e-9)) continue;
    return !above ? factor * power : (factor == 2 ? 5 : 2 * factor) * power;
  }
  return power;
}

}  // namespace

ErrorAxis ErrorAxis::over(std::span<const LinearReport> linears) {
  double low = INFINITY;
  double high = 0;
  for (const LinearReport& l : linears) {
    for (const double error : {l.error, l.plain_error}) {
      if (error > 0) low = std::min(low, error);
      high = std::max(high, error);
    }
  }
  if (high == 0) return {};
  return {.low = std::max(round_number(low, false), high * 1e-4), .high = round_number(high, true)};
}

double ErrorAxis::at(double value) const {
  if (value <= low) return 0;
  return std::min(1.0, std::log(value / low) / std::log(high / low));
}

std::vector<double> ErrorAxis::ticks() const {
  std::vector<double> out;
  const bool decades = high / low > 500;
  for (double tick = round_number(low, false); tick <= high * (1 + 1e-9);
       tick = decades ? tick * 10 : round_number(tick, true)) {
    if (tick >= low * (1 - 1e-9)) out.push_back(tick);
  }
  return out;
}

std::string error_chart(std::span<const ErrorMark> marks, const ErrorAxis& axis, ChartSize size,
                        std::string_view label) {
  const Plot plot{.size = size, .left = 44};
  std::string out = opening(size, label);
  for (const double tick : axis.ticks()) out += grid_line(plot, axis.at(tick), tick_text(tick));
  out += layer_names(plot, marks.size(), [&](size_t i) { return marks[i].layer; });
  std::string links, dashes, dots, hits;
  const double step = 1.0 / static_cast<double>(std::max<size_t>(marks.size(), 1));
  for (size_t i = 0; i < marks.size(); ++i) {
    const double from = static_cast<double>(i) * step;
    const double x = plot.x(from + step / 2);
    const double error = plot.y(axis.at(marks[i].error));
    const double plain = plot.y(axis.at(marks[i].plain));
    links += fmt::format("M{:.1f} {:.1f}V{:.1f}", x, plain, error);
    dashes += fmt::format("M{:.1f} {:.1f}h6", x - 3, plain);
    dots += dot(x, error);
    hits += hover(plot, from, from + step,
                  fmt::format("{}: {} (plain rounding {})", marks[i].what,
                              percent_text(marks[i].error, 2), percent_text(marks[i].plain, 2)));
  }
  return out + path("link", links) + path("plain", dashes) + path("now", dots) + hits + "</svg>";
}

std::string scale_chart(const ScaleHistogram& scales, ChartSize size, std::string_view label) {
  const Plot plot{.size = size, .left = 44};
  std::string out = opening(size, label);
  if (scales.empty()) return out + "</svg>";
  const int first = scales.begin()->first;
  const int bins = scales.rbegin()->first - first + 1;
  int64_t total = 0;
  int64_t most = 0;
  for (const auto& [bin, count] : scales) {
    total += count;
    most = std::max(most, count);
  }
  // A quarter of the bars' full share, rounded, for the lines.
  const double largest = share_of(most, total);
  const double line = round_number(largest / 2, false);
  for (double share = 0; share <= largest; share += line) {
    out += grid_line(plot, share / largest, tick_text(share));
  }
  for (const auto& [bin, count] : scales) {
    const double from = static_cast<double>(bin - first) / bins;
    const double to = static_cast<double>(bin - first + 1) / bins;
    const double height = std::max(1.0, share_of(count, most) * plot.height());
    out += fmt::format(
        R"(<rect class="bar" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>)",
        plot.x(from) + 0.5, plot.bottom() - height, std::max(1.0, plot.width() / bins - 1), height);
    out += hover(plot, from, to,
                 fmt::format("2^{:g} to 2^{:g}: {} scales, {}", bin / 2.0, (bin + 1) / 2.0,
                             count_text(count), percent_text(share_of(count, total), 2)));
  }
  const int octaves = std::max(1, static_cast<int>(std::ceil(bins / 2.0 / (plot.width() / 44))));
  for (int bin = first; bin <= first + bins; ++bin) {
    if (bin % (2 * octaves) != 0) continue;
    out += text(plot.x(static_cast<double>(bin - first) / bins), plot.bottom() + 15, "mid",
                fmt::format(R"(2<tspan dy="-4" class="power">{}{}</tspan>)", bin < 0 ? "−" : "",
                            std::abs(bin / 2)));
  }
  return out + text(plot.x(0.5), plot.bottom() + 30, "mid", "scale of a group") + "</svg>";
}

std::string strength_chart(std::span<const SmoothingReport* const> group, ChartSize size,
                           std::string_view label) {
  const Plot plot{.size = size, .left = 34};
  std::string out = opening(size, label);
  for (const double ratio : {0.0, 0.5, 1.0}) {
    out += grid_line(plot, ratio, fmt::format("{:g}", ratio));
  }
  out += layer_names(plot, group.size(), [&](size_t i) { return group[i]->layer; });
  std::string full, rings, crosses, hits;
  const double step = 1.0 / static_cast<double>(std::max<size_t>(group.size(), 1));
  for (size_t i = 0; i < group.size(); ++i) {
    const SmoothingReport& s = *group[i];
    const double from = static_cast<double>(i) * step;
    const double x = plot.x(from + step / 2);
    const double y = plot.y(std::clamp(s.ratio, 0.0, 1.0));
    if (s.rolled_back) {
      crosses += fmt::format("M{:.1f} {:.1f}l6 6m0-6l-6 6", x - 3, y - 3);
    } else {
      (s.duo ? full : rings) += dot(x, y);
    }
    hits += hover(plot, from, from + step,
                  fmt::format("layer {}: strength {:.2f}{}; {} of the loss is left{}", s.layer,
                              s.ratio, s.duo ? ", duo" : "", percent_text(loss_left(s), 1),
                              s.rolled_back ? "; rolled back" : ""));
  }
  return out + path("now", full) + path("ring", rings) + path("cross", crosses) + hits + "</svg>";
}

}  // namespace squint::quantize
