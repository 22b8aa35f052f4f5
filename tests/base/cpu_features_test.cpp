#include "base/cpu_features.h"

#include <gtest/gtest.h>

namespace squint {
namespace {

TEST(CpuFeatures, IncludeMeansEveryNeededOne) {
  const CpuFeatures none{};
  const CpuFeatures avx2{.avx2 = true};
  const CpuFeatures both{.avx2 = true, .avx512 = true};
  EXPECT_TRUE(none.include(none));
  EXPECT_FALSE(none.include(avx2));
  EXPECT_FALSE(none.include(both));
  EXPECT_TRUE(avx2.include(none));
  EXPECT_TRUE(avx2.include(avx2));
  EXPECT_FALSE(avx2.include(both));
  EXPECT_TRUE(both.include(avx2));
  EXPECT_FALSE(both.include({.avx2 = true, .avx_vnni = true}));
  EXPECT_FALSE(both.include({.avx2 = true, .avx512 = true, .avx512_vnni = true}));
  EXPECT_TRUE(both.include(both));
}

TEST(CpuFeatures, DetectionIsConsistent) {
  const CpuFeatures found = detect_cpu_features();
  EXPECT_TRUE(found.avx2 || !found.avx512) << "AVX-512 kernels use AVX2 as well";
  const CpuFeatures again = detect_cpu_features();
  EXPECT_TRUE(found.include(again) && again.include(found));
}

}  // namespace
}  // namespace squint
