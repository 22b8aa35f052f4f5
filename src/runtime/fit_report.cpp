#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/json.h"
#include "squint/fit.h"

namespace squint {
namespace {

std::string bytes_text(int64_t bytes) {
  const auto value = static_cast<double>(bytes);
  return bytes >= 1'000'000'000 ? fmt::format("{:.2f} GB", value / 1e9)
                                : fmt::format("{:.1f} MB", value / 1e6);
}

std::string count_text(int64_t count) {
  const auto value = static_cast<double>(count);
  return count >= 1'000'000'000 ? fmt::format("{:.2f} billion", value / 1e9)
                                : fmt::format("{:.1f} million", value / 1e6);
}

constexpr size_t kNameColumn = 14;
constexpr size_t kBytesColumn = 10;

std::string line(const std::string& name, int64_t bytes, const std::string& note) {
  std::string out =
      fmt::format("{:<{}}{:>{}}  {}", name, kNameColumn, bytes_text(bytes), kBytesColumn, note);
  return out.substr(0, out.find_last_not_of(' ') + 1) + "\n";
}

}  // namespace

std::string FitPlan::to_text(int width) const {
  std::string out = fmt::format("{}: {} parameters, {} on disk\n", model, count_text(parameters),
                                bytes_text(stored_bytes));
  out += fmt::format("{} tokens: a prompt of {}", context, prompt);
  if (image_tokens > 0) out += fmt::format(", {} of them of images,", image_tokens);
  out += fmt::format(" and an answer of {}\n\n", context - prompt);
  for (const FitPart& part : parts) out += line(part.name, part.bytes, part.note);
  const size_t rule = std::min<size_t>(kNameColumn + kBytesColumn, static_cast<size_t>(width));
  out += std::string(rule, '-') + "\n";
  out += line("total", total_bytes, "while " + moment);
  if (memory == 0) return out;
  out += line("memory", memory,
              fits ? fmt::format("fits, {} to spare", bytes_text(memory - total_bytes))
                   : fmt::format("does not fit: {} too much", bytes_text(total_bytes - memory)));
  if (fits) return out;
  if (changes.empty()) {
    return out +
           "\nNo shorter context, smaller image or 4-bit weights make it fit: a smaller "
           "model does.\n";
  }
  out += changes.size() == 1 ? "\nThis makes it fit:\n" : "\nEach of these makes it fit:\n";
  for (const FitChange& change : changes) {
    out += fmt::format("  {:<34}{:>10}\n", change.what, bytes_text(change.total_bytes));
  }
  return out;
}

std::string FitPlan::to_json() const {
  OrderedJson list = OrderedJson::array();
  for (const FitPart& part : parts) {
    list.push_back({{"name", part.name}, {"note", part.note}, {"bytes", part.bytes}});
  }
  OrderedJson ways = OrderedJson::array();
  for (const FitChange& change : changes) {
    ways.push_back({{"what", change.what}, {"total_bytes", change.total_bytes}});
  }
  const OrderedJson json = {{"kind", "fit"},
                            {"format", 1},
                            {"model", model},
                            {"parameters", parameters},
                            {"stored_bytes", stored_bytes},
                            {"context", context},
                            {"prompt", prompt},
                            {"image_tokens", image_tokens},
                            {"parts", list},
                            {"moment", moment},
                            {"total_bytes", total_bytes},
                            {"memory_bytes", memory},
                            {"fits", fits},
                            {"changes", ways}};
  return json.dump(2, ' ', false, OrderedJson::error_handler_t::replace);
}

}  // namespace squint
