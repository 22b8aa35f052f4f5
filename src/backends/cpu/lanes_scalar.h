// lanes_scalar.h: sixteen floats in an array, for machines without AVX2.
//
// Multiply-add rounds twice here, since these machines may lack the fused instruction: results
// agree with the other tables to float32 rounding, not bit for bit.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

namespace squint::cpu::scalar {

struct Lanes {
  static constexpr int kRows = 4;

  float v[16];

  template <class F>
  static Lanes each(F f) {
    Lanes out;
    for (int i = 0; i < 16; ++i) out.v[i] = f(i);
    return out;
  }

  static Lanes load(const float* p) {
    return each([&](int i) { return p[i]; });
  }
  static Lanes set1(float x) {
    return each([&](int) { return x; });
  }
  static Lanes load_bf16(const uint16_t* p) {
    return each([&](int i) { return std::bit_cast<float>(uint32_t{p[i]} << 16); });
  }
  static Lanes load_u8(const uint8_t* p) {
    return each([&](int i) { return static_cast<float>(p[i]); });
  }
  static Lanes load_u4(const uint8_t* p) {
    return each([&](int i) { return static_cast<float>(i < 8 ? p[i] & 15 : p[i - 8] >> 4); });
  }
  void store(float* p) const {
    for (int i = 0; i < 16; ++i) p[i] = v[i];
  }

  friend Lanes operator+(const Lanes& x, const Lanes& y) {
    return each([&](int i) { return x.v[i] + y.v[i]; });
  }
  friend Lanes operator-(const Lanes& x, const Lanes& y) {
    return each([&](int i) { return x.v[i] - y.v[i]; });
  }
  friend Lanes operator*(const Lanes& x, const Lanes& y) {
    return each([&](int i) { return x.v[i] * y.v[i]; });
  }
  friend Lanes operator/(const Lanes& x, const Lanes& y) {
    return each([&](int i) { return x.v[i] / y.v[i]; });
  }
  static Lanes fma(const Lanes& x, const Lanes& y, const Lanes& z) {
    return each([&](int i) { return x.v[i] * y.v[i] + z.v[i]; });
  }
  static Lanes min(const Lanes& x, const Lanes& y) {
    return each([&](int i) { return x.v[i] < y.v[i] ? x.v[i] : y.v[i]; });
  }
  static Lanes max(const Lanes& x, const Lanes& y) {
    return each([&](int i) { return x.v[i] > y.v[i] ? x.v[i] : y.v[i]; });
  }
  Lanes abs() const {
    return each([&](int i) { return std::fabs(v[i]); });
  }
  Lanes rint() const {
    return each([&](int i) { return std::nearbyintf(v[i]); });
  }
  Lanes round_bf16() const {
    return each([&](int i) {
      const auto bits = std::bit_cast<uint32_t>(v[i]);
      return std::bit_cast<float>((bits + 0x7fffu + ((bits >> 16) & 1u)) & 0xffff0000u);
    });
  }
  static Lanes scale2(const Lanes& x, const Lanes& n) {
    return each([&](int i) {
      const auto exponent = static_cast<uint32_t>(static_cast<int32_t>(n.v[i]) + 127);
      return x.v[i] * std::bit_cast<float>(exponent << 23);
    });
  }
  static Lanes lookup(const float* table, const Lanes& x) {
    return each([&](int i) { return table[std::bit_cast<uint32_t>(x.v[i]) >> 16]; });
  }
};

}  // namespace squint::cpu::scalar
