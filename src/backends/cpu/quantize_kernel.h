// quantize_kernel.h: rounding to integers, sixteen weights at a time; bit for bit what
// core/quantization.h defines for one (spec awq-w4a16.md §2.3-2.5).
#pragma once

#include "backends/cpu/row_kernels.h"

namespace squint::cpu {

static inline float round_one_to_bf16(float x) {
  uint32_t bits = 0;
  __builtin_memcpy(&bits, &x, sizeof bits);
  bits = (bits + 0x7fffu + ((bits >> 16) & 1u)) & 0xffff0000u;
  __builtin_memcpy(&x, &bits, sizeof x);
  return x;
}

struct GroupScale {
  float scale;
  float zero;
};

static inline GroupScale scale_of(const QuantizeArgs& a, float low, float high) {
  low = low < 0 ? low : 0;
  high = high > 0 ? high : 0;
  GroupScale g{0, 0};
  if (a.symmetric) {
    const float half = (a.highest - a.lowest) / 2;
    const float further = -low > high ? -low : high;
    g.scale = round_one_to_bf16(further / half);
    if (a.signed_scales) {
      const float of_further = further / (half + 1);
      const float of_nearer = (-low > high ? high : -low) / half;
      g.scale = round_one_to_bf16(of_further > of_nearer ? of_further : of_nearer);
      if (high > -low) g.scale = -g.scale;
    }
  } else {
    g.scale = round_one_to_bf16(round_one_to_bf16(high - low) / (a.highest - a.lowest));
    float zero = 0;
    // 0 / 0, of a group of zeros, counts as 0; a scale that underflowed drives it to an end.
    if (g.scale != 0 || low != 0) {
      zero = round_one_to_bf16(a.lowest - round_one_to_bf16(low / g.scale));
      zero = zero < a.lowest ? a.lowest : zero > a.highest ? a.highest : zero;
    }
    g.zero = __builtin_rintf(zero);
  }
  if (g.scale == 0) g.scale = 0.0078125f;
  return g;
}

// A group of weights as floats. Lanes past its end hold zeros, which cost no error.
template <class V>
inline V load_weights(const QuantizeArgs& a, int64_t row, int64_t column, int64_t count) {
  const uint16_t* from = a.weight + row * a.in + column;
  V w;
  if (count >= kLanes) {
    w = V::load_bf16(from);
  } else {
    uint16_t part[kLanes] = {};
    for (int64_t i = 0; i < count; ++i) part[i] = from[i];
    w = V::load_bf16(part);
  }
  if (a.smooth == nullptr) return w;
  return (w * load_part<V>(a.smooth + column, count)).round_bf16();
}

template <class V>
inline V code_of(const QuantizeArgs& a, const V& w, const V& scale, const V& zero) {
  const V t = ((w / scale).round_bf16() + zero).round_bf16();
  return V::min(V::max(t, V::set1(a.lowest)), V::set1(a.highest)).rint();
}

template <class V>
inline void range_of(const QuantizeArgs& a, int64_t row, int64_t column, float& low, float& high) {
  V lows = V::set1(0);
  V highs = V::set1(0);
  for (int64_t i = 0; i < a.group_columns; i += kLanes) {
    const V w = load_weights<V>(a, row, column + i, a.group_columns - i);
    lows = V::min(lows, w);
    highs = V::max(highs, w);
  }
  low = -max_lanes(V::set1(0) - lows);
  high = max_lanes(highs);
}

template <class V>
inline float error_of(const QuantizeArgs& a, int64_t row, int64_t column, const GroupScale& g) {
  const V scale = V::set1(g.scale);
  const V zero = V::set1(g.zero);
  V sum = V::set1(0);
  for (int64_t i = 0; i < a.group_columns; i += kLanes) {
    const V w = load_weights<V>(a, row, column + i, a.group_columns - i);
    const V restored = (code_of(a, w, scale, zero) - zero) * scale;
    const V error = (restored.round_bf16() - w).round_bf16().abs();
    sum = sum + V::lookup(a.errors, error);
  }
  return round_one_to_bf16(sum_lanes(sum));
}

template <class V>
inline GroupScale best_scale(QuantizeArgs& a, int64_t row, int64_t column) {
  float low = 0;
  float high = 0;
  range_of<V>(a, row, column, low, high);
  GroupScale best = scale_of(a, low, high);
  if (a.steps == 1) return best;
  float least = 3.4e38f;
  for (int step = 0; step < a.steps; ++step) {
    const auto p = static_cast<float>(1.0 - step / 100.0);
    const GroupScale tried = scale_of(a, round_one_to_bf16(low * p), round_one_to_bf16(high * p));
    const float error = error_of<V>(a, row, column, tried);
    if (error < least) {
      least = error;
      best = tried;
      a.improved |= uint32_t{1} << step;
    }
  }
  return best;
}

template <class V>
void quantize(QuantizeArgs& a) {
  const int64_t groups = a.in / a.group_columns;
  for (int64_t row = a.row_begin; row < a.row_end; ++row) {
    for (int64_t group = 0; group < groups; ++group) {
      const int64_t column = group * a.group_columns;
      const GroupScale g = best_scale<V>(a, row, column);
      uint32_t bits = 0;
      __builtin_memcpy(&bits, &g.scale, sizeof bits);
      a.scales[row * groups + group] = static_cast<uint16_t>(bits >> 16);
      a.zeros[row * groups + group] = static_cast<int8_t>(g.zero);
      for (int64_t i = 0; i < a.group_columns; i += kLanes) {
        const int64_t left = a.group_columns - i;
        const V w = load_weights<V>(a, row, column + i, left);
        alignas(64) float codes[kLanes];
        code_of(a, w, V::set1(g.scale), V::set1(g.zero)).store(codes);
        int8_t* out = a.codes + row * a.in + column + i;
        for (int64_t j = 0; j < kLanes && j < left; ++j) out[j] = static_cast<int8_t>(codes[j]);
      }
    }
  }
}

template <class V>
void quantization_error(const QuantizeArgs& a) {
  QuantizeArgs plain = a;  // weights without the smoothing factor
  plain.smooth = nullptr;
  for (int64_t row = a.row_begin; row < a.row_end; ++row) {
    for (int64_t column = 0; column < a.in; column += a.group_columns) {
      float low = 0;
      float high = 0;
      range_of<V>(a, row, column, low, high);
      const GroupScale g = scale_of(a, low, high);
      const V scale = V::set1(g.scale);
      const V zero = V::set1(g.zero);
      for (int64_t i = 0; i < a.group_columns; i += kLanes) {
        const int64_t left = a.group_columns - i;
        const V w = load_weights<V>(a, row, column + i, left);
        V restored = (code_of(a, w, scale, zero) - zero) * scale;
        if (a.smooth != nullptr) {
          alignas(64) float factor[kLanes];
          for (int64_t j = 0; j < kLanes; ++j) factor[j] = j < left ? a.smooth[column + i + j] : 1;
          restored = restored / V::load(factor);
        }
        store_part(restored - load_weights<V>(plain, row, column + i, left),
                   a.error + row * a.in + column + i, left);
      }
    }
  }
}

}  // namespace squint::cpu
