// dots_avxvnni.h: dot products of four bytes in AVX-VNNI, sixteen at a time in two registers.
#pragma once

#include "backends/cpu/dots_avx2.h"

namespace squint::cpu::avxvnni {

using avx2::Pair;

struct Dots : avx2::DotsBase<struct Vnni> {
  // Eight sums, four weights, a broadcast and a mask of the 16 registers.
  static constexpr int kPanels = 1;
  static constexpr int kTokens = 4;
  static constexpr int kPanelsOfOne = 2;

  template <int kMiddle>
  struct Format {
    using Sum = Pair;
    using Codes = Pair;
    // The codes' middle is taken off beforehand.
    static Sum start(int32_t negative_sum) {
      const __m256i middle = _mm256_set1_epi32(negative_sum * kMiddle);
      return {middle, middle};
    }
    static void add(Sum& sum, const Codes& codes, __m256i x) {
      sum.a = _mm256_dpbusd_avx_epi32(sum.a, codes.a, x);
      sum.b = _mm256_dpbusd_avx_epi32(sum.b, codes.b, x);
    }
    static Lanes finish(const Sum& sum, int32_t) {
      return {_mm256_cvtepi32_ps(sum.a), _mm256_cvtepi32_ps(sum.b)};
    }
  };

  struct Nibbles : Format<8> {
    static constexpr int64_t kPanelBytes = 256;
    static Pair even(const uint8_t* p) { return low_nibbles(load_pair(p)); }
    static Pair odd(const uint8_t* p) { return high_nibbles(load_pair(p)); }
  };
  struct Bytes : Format<128> {
    static constexpr int64_t kPanelBytes = 512;
    static Pair even(const uint8_t* p) { return load_pair(p); }
    static Pair odd(const uint8_t* p) { return load_pair(p + 64); }
  };
};

}  // namespace squint::cpu::avxvnni
