// dots_avx512.h: dot products of four bytes in AVX-512 VNNI, sixteen at a time.
#pragma once

#include "backends/cpu/lanes_avx512.h"

namespace squint::cpu::avx512 {

struct Dots {
  using Lanes = LanesOf<struct Vnni>;
  // Twelve integer sums, twelve parts, four weights and a broadcast of the 32 registers.
  static constexpr int kPanels = 2;
  static constexpr int kTokens = 6;
  static constexpr int kPanelsOfOne = 4;
  static constexpr bool kFewRegisters = false;

  static void prefetch(const uint8_t* p) {
    _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_T0);
  }
  static __m512i four(const int8_t* p) {
    int32_t bytes = 0;
    __builtin_memcpy(&bytes, p, sizeof bytes);
    return _mm512_set1_epi32(bytes);
  }

  template <int kMiddle>
  struct Format {
    using Sum = __m512i;
    using Codes = __m512i;
    // The codes' middle is taken off beforehand.
    static Sum start(int32_t negative_sum) { return _mm512_set1_epi32(negative_sum * kMiddle); }
    static void add(Sum& sum, Codes codes, __m512i x) { sum = _mm512_dpbusd_epi32(sum, codes, x); }
    static Lanes finish(Sum sum, int32_t) { return {_mm512_cvtepi32_ps(sum)}; }
  };

  struct Nibbles : Format<8> {
    static constexpr int64_t kPanelBytes = 256;
    static Codes even(const uint8_t* p) {
      return _mm512_and_si512(_mm512_loadu_si512(p), _mm512_set1_epi8(15));
    }
    static Codes odd(const uint8_t* p) {
      return _mm512_and_si512(_mm512_srli_epi16(_mm512_loadu_si512(p), 4), _mm512_set1_epi8(15));
    }
  };

  struct Bytes : Format<128> {
    static constexpr int64_t kPanelBytes = 512;
    static Codes even(const uint8_t* p) { return _mm512_loadu_si512(p); }
    static Codes odd(const uint8_t* p) { return _mm512_loadu_si512(p + 64); }
  };

  static float largest(const Lanes& x) { return _mm512_reduce_max_ps(x.a); }
  static float sum(const Lanes& x) { return _mm512_reduce_add_ps(x.a); }
  // Rounds 32 values; returns their sum.
  static int32_t store_bytes(const Lanes& first, const Lanes& second, int8_t* p) {
    const __m512i a = _mm512_cvtps_epi32(first.a);
    const __m512i b = _mm512_cvtps_epi32(second.a);
    const __m256i bytes = _mm256_set_m128i(_mm512_cvtepi32_epi8(b), _mm512_cvtepi32_epi8(a));
    const __m256i even_first = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm256_shuffle_epi8(bytes, even_first));
    return _mm512_reduce_add_epi32(_mm512_add_epi32(a, b));
  }
};

}  // namespace squint::cpu::avx512
