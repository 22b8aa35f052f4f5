#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/json.h"
#include "squint/pull.h"

namespace squint {
namespace {

std::string sized(int64_t bytes) {
  const auto value = static_cast<double>(bytes);
  if (bytes >= 1'000'000'000) return fmt::format("{:.2f} GB", value / 1e9);
  if (bytes >= 1'000'000) return fmt::format("{:.1f} MB", value / 1e6);
  if (bytes >= 1000) return fmt::format("{:.1f} kB", value / 1e3);
  return fmt::format("{} B", bytes);
}

std::string state_of(const PullFile& file) {
  if (file.present_bytes == file.bytes) return "present";
  return file.present_bytes == 0 ? "" : sized(file.present_bytes) + " present";
}

OrderedJson json_of(const PullPlan& plan) {
  OrderedJson out = {
      {"revision", plan.revision},           {"commit", plan.commit},
      {"folder", plan.folder.string()},      {"total_bytes", plan.total_bytes},
      {"missing_bytes", plan.missing_bytes}, {"available_bytes", plan.available_bytes},
      {"files", OrderedJson::array()}};
  for (const PullFile& file : plan.files) {
    out["files"].push_back({{"path", file.path},
                            {"bytes", file.bytes},
                            {"present_bytes", file.present_bytes},
                            {"digest", file.digest}});
  }
  return out;
}

// Names of folders need not be UTF-8.
std::string dumped(const OrderedJson& json) {
  return json.dump(2, ' ', false, OrderedJson::error_handler_t::replace);
}

}  // namespace

std::string PullPlan::to_text() const {
  size_t width = 0;
  for (const PullFile& file : files) width = std::max(width, file.path.size());
  width = std::min<size_t>(width, 60);
  std::string out;
  for (const PullFile& file : files) {
    out += fmt::format("{:<{}}  {:>9}  {}", file.path, width, sized(file.bytes), state_of(file));
    out.erase(out.find_last_not_of(' ') + 1);
    out += '\n';
  }
  return out + fmt::format("{} {}, {}, {} to fetch; {} available in {}\n", files.size(),
                           files.size() == 1 ? "file" : "files", sized(total_bytes),
                           sized(missing_bytes), sized(available_bytes), folder.string());
}

std::string PullPlan::to_json() const { return dumped(json_of(*this)); }

std::string PullResult::to_json() const {
  OrderedJson out = json_of(plan);
  out["fetched_bytes"] = fetched_bytes;
  out["seconds"] = seconds;
  return dumped(out);
}

}  // namespace squint
