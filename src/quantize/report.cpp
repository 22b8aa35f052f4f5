#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/json.h"
#include "squint/quantize.h"

namespace squint {
namespace {

std::string megabytes(int64_t bytes) {
  return fmt::format("{:.1f} MB", static_cast<double>(bytes) / 1e6);
}

// "model.language_model.layers.3.self_attn.q_proj" → 3
int64_t layer_of(const std::string& module) {
  const size_t at = module.find(".layers.");
  return at == std::string::npos ? -1 : std::stoll(module.substr(at + 8));
}

std::string kind_of(const std::string& module) { return module.substr(module.rfind('.') + 1); }

std::string options_text(const QuantizeOptions& o) {
  return fmt::format(
      "{} W{}A16, {}, {}, observer {}", name(o.method), o.bits,
      o.group_size == 0 ? "a scale per row" : fmt::format("groups of {}", o.group_size),
      o.symmetric ? "symmetric" : "asymmetric", name(o.observer.value_or(RangeObserver::mse)));
}

// A bar of `cells` characters for a value in 0..limit, in eighths.
std::string bar(double value, double limit, int cells) {
  static constexpr const char* kEighths[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
  const int eighths =
      std::clamp(static_cast<int>(std::lround(value / limit * cells * 8)), 0, cells * 8);
  std::string out;
  for (int i = 0; i < eighths / 8; ++i) out += "█";
  return out + kEighths[eighths % 8];
}

}  // namespace

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

std::string_view name(RangeObserver observer) {
  switch (observer) {
    case RangeObserver::minmax:
      return "minmax";
    case RangeObserver::mse:
      return "mse";
    case RangeObserver::imatrix:
      return "imatrix";
  }
  return "";
}

std::string QuantizeReport::to_text(int width) const {
  std::string out =
      fmt::format("{}\n{} rows, {} tokens ({} of images), {:.1f} s\n{} → {} ({:.1f} %)\n\n",
                  options_text(options), plan.rows, plan.tokens, plan.image_tokens, seconds,
                  megabytes(source_bytes), megabytes(this->output_bytes),
                  100.0 * static_cast<double>(this->output_bytes) /
                      static_cast<double>(std::max<int64_t>(source_bytes, 1)));
  const char* what = plan.rows > 0 ? "Relative error of each layer's outputs"
                                   : "Relative error of the weights (no calibration data)";
  out += fmt::format("{}; plain: rounding alone, whole ranges\n\n", what);
  out += fmt::format("{:>5}  {:<10} {:>8} {:>8}\n", "layer", "linear", "plain", "now");
  double largest = 1e-12;
  for (const LinearReport& l : linears) largest = std::max({largest, l.error, l.plain_error});
  const int cells = std::clamp(width - 37, 8, 60);
  for (const LinearReport& l : linears) {
    out += fmt::format("{:>5}  {:<10} {:>8.4f} {:>8.4f}  {}\n", layer_of(l.module),
                       kind_of(l.module), l.plain_error, l.error, bar(l.error, largest, cells));
  }
  if (smoothing.empty()) return out;
  out += fmt::format(
      "\nSmoothing chosen (strength 0: nothing gained by rescaling)\n\n{:>5}  {:<36} {:>8} "
      "{:>14}\n",
      "layer", "group", "strength", "loss");
  for (const SmoothingReport& s : smoothing) {
    out += fmt::format("{:>5}  {:<36} {:>8} {:>13.1f}%\n", s.layer, s.group,
                       s.duo || s.ratio > 0 ? fmt::format("{:.2f}", s.ratio) : "0",
                       s.identity_loss > 0 ? 100.0 * s.loss / s.identity_loss : 100.0);
  }
  return out;
}

std::string QuantizeReport::to_json() const {
  OrderedJson json = {{"method", name(options.method)},
                      {"bits", options.bits},
                      {"group_size", options.group_size},
                      {"symmetric", options.symmetric},
                      {"observer", name(options.observer.value_or(RangeObserver::mse))},
                      {"output", options.output.string()},
                      {"rows", plan.rows},
                      {"tokens", plan.tokens},
                      {"image_tokens", plan.image_tokens},
                      {"resumed_layers", plan.resumed_layers},
                      {"planned_peak_bytes", plan.peak_bytes},
                      {"source_bytes", source_bytes},
                      {"output_bytes", this->output_bytes},
                      {"seconds", seconds}};
  json["linears"] = OrderedJson::array();
  for (const LinearReport& l : linears) {
    json["linears"].push_back(
        {{"module", l.module}, {"error", l.error}, {"plain_error", l.plain_error}});
  }
  json["smoothing"] = OrderedJson::array();
  for (const SmoothingReport& s : smoothing) {
    json["smoothing"].push_back({{"layer", s.layer},
                                 {"group", s.group},
                                 {"ratio", s.ratio},
                                 {"duo", s.duo},
                                 {"loss", s.loss},
                                 {"identity_loss", s.identity_loss}});
  }
  // Paths may hold bytes that are not UTF-8.
  return json.dump(2, ' ', false, OrderedJson::error_handler_t::replace);
}

}  // namespace squint
