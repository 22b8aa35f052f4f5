// cpu_features.h: which instructions this machine has, as the operating system lets us use them.
#pragma once

namespace squint {

struct CpuFeatures {
  bool avx2 = false;    // with FMA
  bool avx512 = false;  // F, BW, DQ and VL

  // Every feature of `needed` is here.
  bool include(const CpuFeatures& needed) const {
    return (avx2 || !needed.avx2) && (avx512 || !needed.avx512);
  }
};

CpuFeatures detect_cpu_features();

}  // namespace squint
