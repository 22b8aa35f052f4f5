#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "quantize/report_view.h"

namespace squint {
namespace {

using namespace quantize;

constexpr size_t kWorst = 5;

// A bar of `cells` characters for a value in 0..limit, in eighths.
std::string bar(double value, double limit, int cells) {
  static constexpr const char* kEighths[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
  const int eighths =
      std::clamp(static_cast<int>(std::lround(value / limit * cells * 8)), 0, cells * 8);
  std::string out;
  for (int i = 0; i < eighths / 8; ++i) out += "█";
  return out + kEighths[eighths % 8];
}

std::string sizes_text(const QuantizeReport& r) {
  const auto change = [](int64_t before, int64_t after) {
    return fmt::format("{} → {} ({})", bytes_text(before), bytes_text(after),
                       percent_text(share_of(after, before), 1));
  };
  return fmt::format("model       {}\ntext layers {}\n", change(r.source_bytes, r.output_bytes),
                     change(r.layers_source_bytes, r.layers_output_bytes));
}

std::string errors_row(const std::string& name, const std::vector<double>& errors,
                       const ErrorMean& mean) {
  std::string out = fmt::format("{:>5}", name);
  for (const double error : errors) out += fmt::format(" {:>6.2f}", 100 * error);
  return out + fmt::format("  {:>6.2f} {:>6.2f}\n", 100 * mean.error, 100 * mean.plain);
}

std::string errors_text(const QuantizeReport& report, const ErrorTable& table) {
  std::string out =
      fmt::format("Relative error of {}, in percent; plain: rounding alone, whole ranges\n\nlayer",
                  error_of(report));
  for (const std::string& role : table.roles()) {
    out += fmt::format(" {:>6}", role.substr(0, role.find("_proj")));
  }
  out += "    mean  plain\n";
  for (const int64_t layer : table.layers()) {
    std::vector<double> errors;
    for (const std::string& role : table.roles()) {
      const LinearReport* linear = table.find(layer, role);
      errors.push_back(linear != nullptr ? linear->error : NAN);
    }
    out += errors_row(fmt::format("{}", layer), errors, mean_error(table.of_layer(layer)));
  }
  std::vector<double> now;
  std::vector<double> plain;
  for (const std::string& role : table.roles()) {
    const ErrorMean mean = mean_error(table.of_role(role));
    now.push_back(mean.error);
    plain.push_back(mean.plain);
  }
  const ErrorMean mean = mean_error(table.all());
  out += "\n" + errors_row("mean", now, mean);
  out += fmt::format("{:>5}", "plain");
  for (const double error : plain) out += fmt::format(" {:>6.2f}", 100 * error);
  return out + "\n";
}

std::string worst_text(const ErrorTable& table, int width) {
  const std::vector<const LinearReport*> worst = table.worst(kWorst);
  std::string out = "\nLargest errors\n\nlayer  linear        plain     now\n";
  double largest = 1e-12;
  for (const LinearReport* l : worst) largest = std::max(largest, l->error);
  for (const LinearReport* l : worst) {
    const Place place = place_of(l->module);
    out += fmt::format("{:>5}  {:<10} {:>8.2f}{:>8.2f}  {}\n", place.layer, place.role,
                       100 * l->plain_error, 100 * l->error,
                       bar(l->error, largest, std::clamp(width - 37, 8, 40)));
  }
  return out;
}

std::string smoothing_text(const std::vector<SmoothingReport>& smoothing) {
  std::vector<std::string> groups;
  for (const SmoothingReport& s : smoothing) {
    if (std::ranges::find(groups, s.group) == groups.end()) groups.push_back(s.group);
  }
  std::string out = fmt::format(
      "\nSmoothing: strengths chosen; loss that is left of that without\n\n{:<38} {:>11} {:>15} "
      "{:>10}\n",
      "group", "strength", "loss left, %", "unchanged");
  std::string rolled_back;
  for (const std::string& group : groups) {
    double low = 1, high = 0, least = INFINITY, most = 0;
    int count = 0, identities = 0;
    for (const SmoothingReport& s : smoothing) {
      if (s.group != group) continue;
      ++count;
      low = std::min(low, s.ratio);
      high = std::max(high, s.ratio);
      least = std::min(least, loss_left(s));
      most = std::max(most, loss_left(s));
      identities += is_identity(s) ? 1 : 0;
      if (s.rolled_back) rolled_back += fmt::format("  layer {}, {}\n", s.layer, s.group);
    }
    out +=
        fmt::format("{:<38} {:>11} {:>15} {:>10}\n", group, fmt::format("{:.2f}–{:.2f}", low, high),
                    fmt::format("{:.1f}–{:.1f}", 100 * least, 100 * most),
                    fmt::format("{} of {}", identities, count));
  }
  if (!rolled_back.empty()) {
    out += "\nRolled back, where smoothing was worse than plain rounding\n\n" + rolled_back;
  }
  return out;
}

std::string held_out_text(const HeldOutReport& h) {
  std::string out = fmt::format(
      "\nDistance from the original model on {} held-out rows, {} tokens; KL in nats\n\n{:<16}"
      "{:>10}{:>10}{:>10}{:>10}\n",
      h.rows, h.quantized.tokens, "", "mean KL", "median", "p99", "top-1");
  const auto row = [](const char* name, const TokenDivergence& d) {
    return fmt::format("{:<16}{:>10.5f}{:>10.5f}{:>10.4f}{:>10.4f}\n", name, d.kl, d.median, d.p99,
                       d.top1);
  };
  out += row("quantized", h.quantized);
  if (h.plain) out += row("plain rounding", *h.plain);
  return out;
}

}  // namespace

std::string QuantizeReport::to_text(int width) const {
  const ErrorTable table(*this);
  std::string out = options_text(options) + "\n";
  if (plan.rows > 0) {
    out += fmt::format("{} rows, {} tokens ({} of images); ", plan.rows, plan.tokens,
                       plan.image_tokens);
  }
  out += fmt::format("{}\n", seconds_text(run.seconds)) + sizes_text(*this);
  out += fmt::format("bits        {:.3f} per weight, scales counted\n", bits_per_weight);
  for (const std::string& line : other_bits(*this)) out += "            " + line + "\n";
  out += "\n";
  out += errors_text(*this, table) + worst_text(table, width);
  if (!smoothing.empty()) out += smoothing_text(smoothing);
  if (held_out) out += held_out_text(*held_out);
  return out;
}

}  // namespace squint
