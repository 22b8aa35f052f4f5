// dots_avx2.h: dot products of four bytes in AVX2, sixteen at a time in two registers; with
// AVX-VNNI in one instruction, else in sums of pairs of 16 bits.
#pragma once

#include "backends/cpu/lanes_avx2.h"

namespace squint::cpu::avx2 {

struct Pair {
  __m256i a;
  __m256i b;
};

template <class Table>
struct DotsBase {
  using Lanes = LanesOf<Table>;
  static constexpr bool kFewRegisters = true;

  static void prefetch(const uint8_t* p) {
    _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_T0);
  }
  static __m256i four(const int8_t* p) {
    int32_t bytes = 0;
    __builtin_memcpy(&bytes, p, sizeof bytes);
    return _mm256_set1_epi32(bytes);
  }
  static __m256i load_32(const uint8_t* p) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  }
  static Pair load_pair(const uint8_t* p) { return {load_32(p), load_32(p + 32)}; }
  static Pair low_nibbles(const Pair& both) {
    const __m256i mask = _mm256_set1_epi8(15);
    return {_mm256_and_si256(both.a, mask), _mm256_and_si256(both.b, mask)};
  }
  static Pair high_nibbles(const Pair& both) {
    return low_nibbles({_mm256_srli_epi16(both.a, 4), _mm256_srli_epi16(both.b, 4)});
  }

  static float largest(const Lanes& x) {
    const __m256 eight = _mm256_max_ps(x.a, x.b);
    __m128 four_left = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    four_left = _mm_max_ps(four_left, _mm_movehl_ps(four_left, four_left));
    return _mm_cvtss_f32(_mm_max_ss(four_left, _mm_movehdup_ps(four_left)));
  }
  // Added as AVX-512 adds: halves, then halves of them.
  static float sum(const Lanes& x) {
    const __m256 eight = _mm256_add_ps(x.a, x.b);
    __m128 left = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    left = _mm_add_ps(left, _mm_movehl_ps(left, left));
    return _mm_cvtss_f32(_mm_add_ss(left, _mm_movehdup_ps(left)));
  }
  // Rounds 32 values; returns their sum.
  static int32_t store_bytes(const Lanes& first, const Lanes& second, int8_t* p) {
    const __m256i a = _mm256_cvtps_epi32(first.a);
    const __m256i b = _mm256_cvtps_epi32(first.b);
    const __m256i c = _mm256_cvtps_epi32(second.a);
    const __m256i d = _mm256_cvtps_epi32(second.b);
    // In each half of a register: four of a, of b, of c, of d.
    const __m256i bytes = _mm256_packs_epi16(_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, d));
    const __m256i in_order =
        _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    const __m256i even_first = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm256_shuffle_epi8(in_order, even_first));
    const __m256i sum = _mm256_add_epi32(_mm256_add_epi32(a, b), _mm256_add_epi32(c, d));
    __m128i left = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
    left = _mm_add_epi32(left, _mm_shuffle_epi32(left, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(left, _mm_shuffle_epi32(left, 0xb1)));
  }
};

struct Dots : DotsBase<struct Exact> {
  // Eight sums, two weights, a broadcast, a product and a mask of the 16 registers.
  static constexpr int kPanels = 1;
  static constexpr int kTokens = 4;
  static constexpr int kPanelsOfOne = 2;

  // Pairs of products add to at most 2 · 15 · 127 in size, a block's eight of them to 30480: sums
  // of 16 bits hold them.
  struct Nibbles {
    static constexpr int64_t kPanelBytes = 256;
    using Sum = Pair;
    using Codes = Pair;
    static Sum start(int32_t) { return {_mm256_setzero_si256(), _mm256_setzero_si256()}; }
    static Codes even(const uint8_t* p) { return low_nibbles(load_pair(p)); }
    static Codes odd(const uint8_t* p) { return high_nibbles(load_pair(p)); }
    static void add(Sum& sum, const Codes& codes, __m256i x) {
      sum.a = _mm256_add_epi16(sum.a, _mm256_maddubs_epi16(codes.a, x));
      sum.b = _mm256_add_epi16(sum.b, _mm256_maddubs_epi16(codes.b, x));
      // GCC would keep a block's products, in memory, and add them at its end.
      __asm__("" : "+x"(sum.a), "+x"(sum.b));
    }
    static Lanes finish(const Sum& sum, int32_t negative_sum) {
      const __m256i ones = _mm256_set1_epi16(1);
      const __m256i middle = _mm256_set1_epi32(negative_sum * 8);
      return {_mm256_cvtepi32_ps(_mm256_add_epi32(_mm256_madd_epi16(sum.a, ones), middle)),
              _mm256_cvtepi32_ps(_mm256_add_epi32(_mm256_madd_epi16(sum.b, ones), middle))};
    }
  };

  // u - 128 is at most 127 in size but for -128, which no kind of rounding here makes and others'
  // files may have: pairs add to 2 · 128 · 127, which 16 bits hold.
  struct Bytes {
    static constexpr int64_t kPanelBytes = 512;
    using Sum = Pair;
    using Codes = Pair;
    static Sum start(int32_t) { return {_mm256_setzero_si256(), _mm256_setzero_si256()}; }
    static Codes even(const uint8_t* p) {
      const __m256i middle = _mm256_set1_epi8(-128);
      return {_mm256_xor_si256(load_32(p), middle), _mm256_xor_si256(load_32(p + 32), middle)};
    }
    static Codes odd(const uint8_t* p) { return even(p + 64); }
    static void add(Sum& sum, const Codes& codes, __m256i x) {
      sum.a = _mm256_add_epi32(sum.a, four_products(codes.a, x));
      sum.b = _mm256_add_epi32(sum.b, four_products(codes.b, x));
      __asm__("" : "+x"(sum.a), "+x"(sum.b));
    }
    static Lanes finish(const Sum& sum, int32_t) {
      return {_mm256_cvtepi32_ps(sum.a), _mm256_cvtepi32_ps(sum.b)};
    }

   private:
    // One factor must be unsigned: the weight's sign moves to x.
    static __m256i four_products(__m256i codes, __m256i x) {
      const __m256i pairs =
          _mm256_maddubs_epi16(_mm256_abs_epi8(codes), _mm256_sign_epi8(x, codes));
      return _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
    }
  };
};

}  // namespace squint::cpu::avx2
