// cpu_features.h: which instructions this machine has, as the operating system lets us use them.
#pragma once

namespace squint {

struct CpuFeatures {
  bool avx2 = false;    // with FMA
  bool avx512 = false;  // F, BW, DQ and VL
  // Dot products of four bytes: of 256 bits in AVX's encoding, of 512 bits.
  bool avx_vnni = false;
  bool avx512_vnni = false;

  // Every feature of `needed` is here.
  bool include(const CpuFeatures& needed) const {
    return (avx2 || !needed.avx2) && (avx512 || !needed.avx512) && (avx_vnni || !needed.avx_vnni) &&
           (avx512_vnni || !needed.avx512_vnni);
  }
};

CpuFeatures detect_cpu_features();

}  // namespace squint
