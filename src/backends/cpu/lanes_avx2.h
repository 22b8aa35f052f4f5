// lanes_avx2.h: sixteen floats in two AVX2 registers.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace squint::cpu::avx2 {

// `Table` is whose kernels these are: files with other flags than the exact table's get types, and
// so functions, of their own.
template <class Table>
struct LanesOf {
  using Lanes = LanesOf;
  // Six rows by one panel: 12 accumulators, 2 weights, 1 broadcast of the 16 registers.
  static constexpr int kRows = 6;

  __m256 a;
  __m256 b;

  static Lanes load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
  static Lanes set1(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
  static Lanes load_bf16(const uint16_t* p) {
    return {widen_bf16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))),
            widen_bf16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p + 8)))};
  }
  static Lanes load_u8(const uint8_t* p) {
    return {widen_u8(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))),
            widen_u8(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p + 8)))};
  }
  static Lanes load_u4(const uint8_t* p) {
    const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
    const __m128i mask = _mm_set1_epi8(15);
    return {widen_u8(_mm_and_si128(bytes, mask)),
            widen_u8(_mm_and_si128(_mm_srli_epi16(bytes, 4), mask))};
  }
  void store(float* p) const {
    _mm256_storeu_ps(p, a);
    _mm256_storeu_ps(p + 8, b);
  }

  friend Lanes operator+(Lanes x, Lanes y) {
    return {_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)};
  }
  friend Lanes operator-(Lanes x, Lanes y) {
    return {_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b)};
  }
  friend Lanes operator*(Lanes x, Lanes y) {
    return {_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)};
  }
  friend Lanes operator/(Lanes x, Lanes y) {
    return {_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b)};
  }
  // x * y + z, rounded once
  static Lanes fma(Lanes x, Lanes y, Lanes z) {
    return {_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)};
  }
  static Lanes min(Lanes x, Lanes y) { return {_mm256_min_ps(x.a, y.a), _mm256_min_ps(x.b, y.b)}; }
  static Lanes max(Lanes x, Lanes y) { return {_mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b)}; }
  Lanes abs() const {
    const __m256 sign = _mm256_set1_ps(-0.0f);
    return {_mm256_andnot_ps(sign, a), _mm256_andnot_ps(sign, b)};
  }
  Lanes rint() const {  // ties to even
    return {_mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC),
            _mm256_round_ps(b, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
  }
  Lanes round_bf16() const { return {round_bf16(a), round_bf16(b)}; }
  // x * 2^n for integral n in -126 .. 127
  static Lanes scale2(Lanes x, Lanes n) { return {scale2(x.a, n.a), scale2(x.b, n.b)}; }
  // table[bf16 bits of x] for x >= 0
  static Lanes lookup(const float* table, Lanes x) {
    return {lookup(table, x.a), lookup(table, x.b)};
  }

 private:
  static __m256 widen_bf16(__m128i x) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(x), 16));
  }
  static __m256 widen_u8(__m128i x) { return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(x)); }
  static __m256 round_bf16(__m256 x) {
    const __m256i bits = _mm256_castps_si256(x);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    const __m256i rounded =
        _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7fff)), odd);
    return _mm256_castsi256_ps(_mm256_and_si256(rounded, _mm256_set1_epi32(-65536)));
  }
  static __m256 scale2(__m256 x, __m256 n) {
    const __m256i exponent =
        _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23);
    return _mm256_mul_ps(x, _mm256_castsi256_ps(exponent));
  }
  static __m256 lookup(const float* table, __m256 x) {
    return _mm256_i32gather_ps(table, _mm256_srli_epi32(_mm256_castps_si256(x), 16), 4);
  }
};

using Lanes = LanesOf<struct Exact>;

}  // namespace squint::cpu::avx2
