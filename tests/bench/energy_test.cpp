#include "bench/energy.h"

#include <gtest/gtest.h>

#include <fstream>

#include "support/paths.h"

namespace squint::bench {
namespace {

void write(const std::filesystem::path& folder, const char* file, int64_t value) {
  std::filesystem::create_directories(folder);
  std::ofstream(folder / file) << value << "\n";
}

void add_package(const std::filesystem::path& folder, int64_t counter) {
  write(folder, "energy_uj", counter);
  write(folder, "max_energy_range_uj", 10'000'000);
}

TEST(EnergyMeter, AddsPackagesAndMindsTheirRange) {
  const test::TempDir dir;
  add_package(dir.path() / "intel-rapl:0", 1'000'000);
  add_package(dir.path() / "intel-rapl:1", 9'500'000);
  add_package(dir.path() / "intel-rapl:0:0", 0);     // a part of the first
  add_package(dir.path() / "intel-rapl-mmio:0", 0);  // the first once more
  EnergyMeter meter(dir.path());
  ASSERT_TRUE(meter.readable());
  meter.start();
  write(dir.path() / "intel-rapl:0", "energy_uj", 3'000'000);
  write(dir.path() / "intel-rapl:1", "energy_uj", 500'000);  // began anew
  write(dir.path() / "intel-rapl:0:0", "energy_uj", 7'000'000);
  EXPECT_DOUBLE_EQ(meter.joules().value_or(0), 2 + 1);
}

TEST(EnergyMeter, SaysWhereNothingCanBeRead) {
  const test::TempDir dir;
  EXPECT_FALSE(EnergyMeter(dir.path()).readable());
  EXPECT_FALSE(EnergyMeter(dir.path() / "absent").readable());
  EXPECT_FALSE(EnergyMeter(dir.path()).joules());
  add_package(dir.path() / "intel-rapl:0", 1);
  std::filesystem::create_directories(dir.path() / "intel-rapl:1");  // half of the energy
  EXPECT_FALSE(EnergyMeter(dir.path()).readable());
}

}  // namespace
}  // namespace squint::bench
