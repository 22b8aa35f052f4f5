#include "base/process_memory.h"

#include <gtest/gtest.h>

#include <vector>

namespace squint {
namespace {

TEST(PeakMemory, RemembersWhatWasThere) {
  constexpr int64_t kBytes = 64 << 20;
  PeakMemory memory;
  memory.sample();
  const int64_t before = memory.peak();
  {
    const std::vector<char> filled(kBytes, 1);
    memory.sample();
  }
  memory.sample();
  EXPECT_LT(before, kBytes / 2);
  EXPECT_GE(memory.peak(), kBytes * 9 / 10);
  EXPECT_LT(memory.peak(), kBytes * 2);
  EXPECT_GE(peak_resident_bytes(), memory.peak());
}

TEST(ResidentBytes, ThePeakCanStartAnew) {
  constexpr int64_t kBytes = 64 << 20;
  { const std::vector<char> filled(kBytes, 1); }
  trim_memory();  // the C library may keep it otherwise
  if (!restart_peak()) GTEST_SKIP() << "the system has no peak to restart";
  const int64_t low = peak_resident_bytes();
  EXPECT_LT(low, resident_bytes() + kBytes / 4);
  const std::vector<char> filled(kBytes, 1);
  EXPECT_GE(peak_resident_bytes(), low + kBytes / 2 + filled[3]);
}

}  // namespace
}  // namespace squint
