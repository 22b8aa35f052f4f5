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

}  // namespace
}  // namespace squint
