#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "quantize/report_view.h"

namespace squint {

std::string_view name(QuantizeMethod method) {
  switch (method) {
    case QuantizeMethod::rtn:
      return "rtn";
    case QuantizeMethod::awq:
      return "awq";
    case QuantizeMethod::gptq:
      return "gptq";
    case QuantizeMethod::awq_gptq:
      return "awq+gptq";
  }
  return "";
}

std::string_view name(DuoScaling duo) {
  return duo == DuoScaling::both ? "both" : duo == DuoScaling::on ? "on" : "off";
}

std::string_view name(RangeObserver observer) {
  switch (observer) {
    case RangeObserver::minmax:
      return "minmax";
    case RangeObserver::mse:
      return "mse";
    case RangeObserver::imatrix:
      return "imatrix";
    case RangeObserver::clip:
      return "clip";
  }
  return "";
}

namespace quantize {

Place place_of(const std::string& module) {
  const size_t at = module.find(".layers.");
  return {.layer = at == std::string::npos ? -1 : std::stoll(module.substr(at + 8)),
          .role = module.substr(module.rfind('.') + 1)};
}

ErrorMean mean_error(const std::vector<const LinearReport*>& linears) {
  ErrorMean mean;
  for (const LinearReport* l : linears) {
    mean.error += l->error / static_cast<double>(linears.size());
    mean.plain += l->plain_error / static_cast<double>(linears.size());
  }
  return mean;
}

ErrorTable::ErrorTable(const QuantizeReport& report) {
  for (const LinearReport& l : report.linears) {
    const Place place = place_of(l.module);
    if (std::ranges::find(roles_, place.role) == roles_.end()) roles_.push_back(place.role);
    by_place_[place.layer][place.role] = &l;
    all_.push_back(&l);
  }
  for (const auto& [layer, linears] : by_place_) layers_.push_back(layer);
}

const LinearReport* ErrorTable::find(int64_t layer, const std::string& role) const {
  const auto& linears = by_place_.at(layer);
  const auto at = linears.find(role);
  return at == linears.end() ? nullptr : at->second;
}

std::vector<const LinearReport*> ErrorTable::of_layer(int64_t layer) const {
  std::vector<const LinearReport*> out;
  for (const auto& [role, linear] : by_place_.at(layer)) out.push_back(linear);
  return out;
}

std::vector<const LinearReport*> ErrorTable::of_role(const std::string& role) const {
  std::vector<const LinearReport*> out;
  for (const int64_t layer : layers_) {
    if (const LinearReport* linear = find(layer, role)) out.push_back(linear);
  }
  return out;
}

std::vector<const LinearReport*> ErrorTable::worst(size_t count) const {
  std::vector<const LinearReport*> out = all_;
  std::ranges::stable_sort(out, std::ranges::greater{}, &LinearReport::error);
  out.resize(std::min(count, out.size()));
  return out;
}

bool is_identity(const SmoothingReport& s) { return s.rolled_back || (s.ratio == 0 && !s.duo); }

double loss_left(const SmoothingReport& s) {
  return s.identity_loss > 0 ? s.loss / s.identity_loss : 1;
}

std::string options_text(const QuantizeOptions& o) {
  return fmt::format(
             "{}, W{}A16, {}, {}, observer {}", name(o.method), o.bits,
             o.group_size == 0 ? "a scale per row" : fmt::format("groups of {}", o.group_size),
             o.symmetric ? "symmetric" : "asymmetric",
             name(o.observer.value_or(RangeObserver::mse))) +
         (o.head_bits == 8 ? ", head int8" : "") +
         (o.embedding_bits == 8 ? ", embedding int8" : "");
}

std::vector<std::string> other_bits(const QuantizeReport& report) {
  std::map<int, std::map<std::string, std::vector<int64_t>>> layers;  // by bits, then by role
  for (const LinearReport& l : report.linears) {
    if (l.bits == report.options.bits) continue;
    const Place place = place_of(l.module);
    layers[l.bits][place.role.substr(0, place.role.find("_proj"))].push_back(place.layer);
  }
  std::vector<std::string> lines;
  for (const auto& [bits, roles] : layers) {
    std::map<std::vector<int64_t>, std::vector<std::string>> together;
    for (const auto& [role, numbers] : roles) together[numbers].push_back(role);
    std::vector<std::string> parts;
    for (const auto& [numbers, names] : together) {
      parts.push_back(fmt::format("{} in {} {}", fmt::join(names, ", "),
                                  numbers.size() == 1 ? "layer" : "layers",
                                  fmt::join(numbers, ", ")));
    }
    lines.push_back(fmt::format("{} bits: {}", bits, fmt::join(parts, "; ")));
  }
  return lines;
}

std::string error_of(const QuantizeReport& report) {
  return report.plan.rows > 0 ? "the outputs" : "the weights";
}

std::string bytes_text(int64_t bytes) {
  const auto value = static_cast<double>(bytes);
  if (bytes >= 1'000'000'000) return fmt::format("{:.2f} GB", value / 1e9);
  return bytes >= 100'000 ? fmt::format("{:.1f} MB", value / 1e6)
                          : fmt::format("{:.1f} kB", value / 1e3);
}

std::string count_text(int64_t count) {
  if (count >= 1'000'000'000)
    return fmt::format("{:.2f} billion", static_cast<double>(count) / 1e9);
  if (count >= 1'000'000) return fmt::format("{:.1f} million", static_cast<double>(count) / 1e6);
  return count < 1000 ? fmt::format("{}", count)
                      : fmt::format("{},{:03}", count / 1000, count % 1000);
}

std::string percent_text(double share, int decimals) {
  return fmt::format("{:.{}f} %", 100 * share, decimals);
}

std::string seconds_text(double seconds) {
  if (seconds < 0.9995) return fmt::format("{:.0f} ms", 1000 * seconds);
  if (seconds < 99.95) return fmt::format("{:.1f} s", seconds);
  const auto whole = std::llround(seconds);
  return whole < 3600 ? fmt::format("{}:{:02} min", whole / 60, whole % 60)
                      : fmt::format("{}:{:02}:{:02} h", whole / 3600, whole / 60 % 60, whole % 60);
}

double share_of(int64_t part, int64_t whole) {
  return whole > 0 ? static_cast<double>(part) / static_cast<double>(whole) : 0;
}

}  // namespace quantize
}  // namespace squint
