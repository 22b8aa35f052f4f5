// energy.h: what the processors used, by the counters of powercap (RAPL).
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <vector>

namespace squint::bench {

class EnergyMeter {
 public:
  // The packages below `folder`. Those that cannot be read (absent in most virtual machines, for
  // root alone elsewhere) make the meter empty.
  explicit EnergyMeter(const std::filesystem::path& folder = "/sys/class/powercap");

  bool readable() const { return !packages_.empty(); }
  void start();
  // Joules of all packages since start; nothing where a counter could not be read.
  std::optional<double> joules() const;

 private:
  struct Package {
    std::filesystem::path counter;
    int64_t range = 0;  // the counter begins anew there; microjoules
    int64_t start = 0;
  };
  std::vector<Package> packages_;
};

}  // namespace squint::bench
