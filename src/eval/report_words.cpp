#include "eval/report_words.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

namespace squint::eval {

std::string bytes_text(int64_t bytes) {
  const auto size = static_cast<double>(bytes);
  if (bytes >= 1'000'000'000) return fmt::format("{:.2f} GB", size / 1e9);
  if (bytes >= 1'000'000) return fmt::format("{:.1f} MB", size / 1e6);
  return fmt::format("{:.1f} kB", size / 1e3);
}

std::string percent_text(const std::optional<double>& share) {
  return share ? fmt::format("{:.1f}", *share * 100) : "-";
}

std::string number_text(const std::optional<double>& value) {
  return value ? fmt::format("{:.1f}", *value) : "-";
}

std::string p_text(double p) { return p < 0.0001 ? "<0.0001" : fmt::format("{:.4f}", p); }

std::string signed_text(int64_t value) { return value == 0 ? "0" : fmt::format("{:+}", value); }

std::string signed_percent(double share) {
  const std::string text = fmt::format("{:+.1f}", share * 100);
  return text == "+0.0" || text == "-0.0" ? "0.0" : text;
}

std::string interval_text(const Interval& interval) {
  return fmt::format("{:.1f} to {:.1f}", interval.low * 100, interval.high * 100);
}

std::string signed_interval(const Interval& interval) {
  return fmt::format("{} to {}", signed_percent(interval.low), signed_percent(interval.high));
}

std::string joined(const std::vector<std::string>& texts) {
  std::string out;
  for (const std::string& text : texts) out += (out.empty() ? "" : " | ") + text;
  return out;
}

std::string name_of(const Summary& run) {
  return run.model_name.empty() ? run.path : run.model_name;
}

std::string output_of(const ResultRow& row) {
  return row.finish_reason == "error" ? "error: " + row.error : row.prediction_scored;
}

std::vector<std::string> settings_of(const Summary& run) {
  std::vector<std::string> out;
  const Json members = parse_json(run.file.header, run.path).value("settings", Json::object());
  for (const auto& [key, value] : members.items()) {
    out.push_back(
        fmt::format("{}={}", key, value.is_string() ? value.get<std::string>() : value.dump()));
  }
  return out;
}

}  // namespace squint::eval
