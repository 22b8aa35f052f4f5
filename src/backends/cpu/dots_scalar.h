// dots_scalar.h: dot products of four bytes, one after the other.
#pragma once

#include "backends/cpu/lanes_scalar.h"

namespace squint::cpu::scalar {

struct Dots {
  using Lanes = scalar::Lanes;
  static constexpr int kPanels = 1;
  static constexpr int kTokens = 2;
  static constexpr int kPanelsOfOne = 1;
  static constexpr bool kFewRegisters = false;

  static void prefetch(const uint8_t*) {}
  static const int8_t* four(const int8_t* p) { return p; }

  template <int kMiddle>
  struct Format {
    struct Sum {
      int32_t v[16];
    };
    struct Codes {
      uint8_t v[64];
    };
    static Sum start(int32_t negative_sum) {
      Sum sum;
      for (int32_t& lane : sum.v) lane = negative_sum * kMiddle;
      return sum;
    }
    static void add(Sum& sum, const Codes& codes, const int8_t* x) {
      for (int lane = 0; lane < 16; ++lane) {
        for (int k = 0; k < 4; ++k) sum.v[lane] += int32_t{codes.v[4 * lane + k]} * x[k];
      }
    }
    static Lanes finish(const Sum& sum, int32_t) {
      return Lanes::each([&](int i) { return static_cast<float>(sum.v[i]); });
    }
  };

  struct Nibbles : Format<8> {
    static constexpr int64_t kPanelBytes = 256;
    static Codes even(const uint8_t* p) {
      Codes codes;
      for (int i = 0; i < 64; ++i) codes.v[i] = p[i] & 15;
      return codes;
    }
    static Codes odd(const uint8_t* p) {
      Codes codes;
      for (int i = 0; i < 64; ++i) codes.v[i] = p[i] >> 4;
      return codes;
    }
  };
  struct Bytes : Format<128> {
    static constexpr int64_t kPanelBytes = 512;
    static Codes even(const uint8_t* p) {
      Codes codes;
      for (int i = 0; i < 64; ++i) codes.v[i] = p[i];
      return codes;
    }
    static Codes odd(const uint8_t* p) { return even(p + 64); }
  };

  static float largest(const Lanes& x) {
    float most = x.v[0];
    for (const float value : x.v) most = value > most ? value : most;
    return most;
  }
  static float sum(Lanes x) {
    for (int width = 8; width > 0; width /= 2) {
      for (int i = 0; i < width; ++i) x.v[i] += x.v[i + width];
    }
    return x.v[0];
  }
  // Rounds 32 values; returns their sum.
  static int32_t store_bytes(const Lanes& first, const Lanes& second, int8_t* p) {
    int32_t sum = 0;
    for (int i = 0; i < 32; ++i) {
      const float x = i < 16 ? first.v[i] : second.v[i - 16];
      // As the other tables do with what is not a number.
      const int32_t code = x == x ? static_cast<int32_t>(std::nearbyintf(x)) : -128;
      p[i / 8 * 8 + i % 2 * 4 + i % 8 / 2] = static_cast<int8_t>(code);
      sum += code;
    }
    return sum;
  }
};

}  // namespace squint::cpu::scalar
