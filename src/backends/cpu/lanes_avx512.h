// lanes_avx512.h: sixteen floats in one AVX-512 register.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace squint::cpu::avx512 {

// `Table` is whose kernels these are: files with other flags than the exact table's get types, and
// so functions, of their own.
template <class Table>
struct LanesOf {
  using Lanes = LanesOf;
  // Fourteen rows by one panel: enough independent chains to cover the latency of an FMA.
  static constexpr int kRows = 14;

  __m512 a;

  static Lanes load(const float* p) { return {_mm512_loadu_ps(p)}; }
  static Lanes set1(float x) { return {_mm512_set1_ps(x)}; }
  static Lanes load_bf16(const uint16_t* p) {
    const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16))};
  }
  static Lanes load_u8(const uint8_t* p) {
    return {widen_u8(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))};
  }
  static Lanes load_u4(const uint8_t* p) {
    const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
    const __m128i both = _mm_unpacklo_epi64(bytes, _mm_srli_epi16(bytes, 4));
    return {widen_u8(_mm_and_si128(both, _mm_set1_epi8(15)))};
  }
  void store(float* p) const { _mm512_storeu_ps(p, a); }

  friend Lanes operator+(Lanes x, Lanes y) { return {_mm512_add_ps(x.a, y.a)}; }
  friend Lanes operator-(Lanes x, Lanes y) { return {_mm512_sub_ps(x.a, y.a)}; }
  friend Lanes operator*(Lanes x, Lanes y) { return {_mm512_mul_ps(x.a, y.a)}; }
  friend Lanes operator/(Lanes x, Lanes y) { return {_mm512_div_ps(x.a, y.a)}; }
  // x * y + z, rounded once
  static Lanes fma(Lanes x, Lanes y, Lanes z) { return {_mm512_fmadd_ps(x.a, y.a, z.a)}; }
  static Lanes min(Lanes x, Lanes y) { return {_mm512_min_ps(x.a, y.a)}; }
  static Lanes max(Lanes x, Lanes y) { return {_mm512_max_ps(x.a, y.a)}; }
  Lanes abs() const { return {_mm512_abs_ps(a)}; }
  Lanes rint() const {  // ties to even
    return {_mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
  }
  Lanes round_bf16() const {
    const __m512i bits = _mm512_castps_si512(a);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    const __m512i rounded =
        _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd);
    return {_mm512_castsi512_ps(_mm512_and_si512(rounded, _mm512_set1_epi32(-65536)))};
  }
  // x * 2^n for integral n in -126 .. 127
  static Lanes scale2(Lanes x, Lanes n) { return {_mm512_scalef_ps(x.a, n.a)}; }
  // table[bf16 bits of x] for x >= 0
  static Lanes lookup(const float* table, Lanes x) {
    const __m512i index = _mm512_srli_epi32(_mm512_castps_si512(x.a), 16);
    return {_mm512_i32gather_ps(index, table, 4)};
  }

 private:
  static __m512 widen_u8(__m128i x) { return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(x)); }
};

using Lanes = LanesOf<struct Exact>;

}  // namespace squint::cpu::avx512
