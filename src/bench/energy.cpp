#include "bench/energy.h"

#include <fstream>

namespace squint::bench {
namespace {

namespace fs = std::filesystem;

std::optional<int64_t> number_in(const fs::path& file) {
  std::ifstream in(file);
  int64_t value = 0;
  if (in >> value && value >= 0) return value;
  return std::nullopt;
}

}  // namespace

EnergyMeter::EnergyMeter(const fs::path& folder) {
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(folder, ignored)) {
    // "intel-rapl:0" is a package, "intel-rapl:0:1" a part of it; "-mmio" counts packages again.
    const std::string name = entry.path().filename().string();
    if (!name.starts_with("intel-rapl:") || name.find(':') != name.rfind(':')) continue;
    const auto counter = number_in(entry.path() / "energy_uj");
    const auto range = number_in(entry.path() / "max_energy_range_uj");
    if (!counter || !range) {
      packages_.clear();  // a part of the whole would be no answer
      return;
    }
    packages_.push_back({.counter = entry.path() / "energy_uj", .range = *range});
  }
}

void EnergyMeter::start() {
  for (Package& package : packages_) package.start = number_in(package.counter).value_or(-1);
}

std::optional<double> EnergyMeter::joules() const {
  if (packages_.empty()) return std::nullopt;
  int64_t total = 0;
  for (const Package& package : packages_) {
    const auto now = number_in(package.counter);
    if (!now || package.start < 0) return std::nullopt;
    total += *now >= package.start ? *now - package.start : *now - package.start + package.range;
  }
  return static_cast<double>(total) / 1e6;
}

}  // namespace squint::bench
