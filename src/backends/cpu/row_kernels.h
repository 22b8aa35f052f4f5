// row_kernels.h: norms, rotary embedding, activations and sums: a pass over rows of floats.
//
// Sums over a row run in sixteen interleaved lanes that are added as a tree: the same value on
// every machine with a fused multiply-add.
#pragma once

#include "backends/cpu/kernel_args.h"

namespace squint::cpu {

template <class V>
inline V load_part(const float* p, int64_t count) {
  if (count >= kLanes) return V::load(p);
  alignas(64) float part[kLanes] = {};
  for (int64_t i = 0; i < count; ++i) part[i] = p[i];
  return V::load(part);
}

template <class V>
inline void store_part(const V& x, float* p, int64_t count) {
  if (count >= kLanes) return x.store(p);
  alignas(64) float part[kLanes];
  x.store(part);
  for (int64_t i = 0; i < count; ++i) p[i] = part[i];
}

template <class V>
inline float sum_lanes(const V& x) {
  alignas(64) float part[kLanes];
  x.store(part);
  for (int width = kLanes / 2; width > 0; width /= 2) {
    for (int i = 0; i < width; ++i) part[i] += part[i + width];
  }
  return part[0];
}

template <class V>
inline float max_lanes(const V& x) {
  alignas(64) float part[kLanes];
  x.store(part);
  for (int i = 1; i < kLanes; ++i) part[0] = part[i] > part[0] ? part[i] : part[0];
  return part[0];
}

// e^x. x = n ln 2 + r with |r| <= ln 2 / 2, then the series of e^r to r^7, whose first left-out
// term is below 2^-27 relative. Arguments are clamped to -87 .. 88, where float32 ends.
template <class V>
inline V exponential(const V& x) {
  const V clamped = V::min(V::max(x, V::set1(-87.0f)), V::set1(88.0f));
  const V n = (clamped * V::set1(1.44269504f)).rint();
  // ln 2 in two parts: the first has so few bits that n * 0.693359375 is exact.
  V r = V::fma(n, V::set1(-0.693359375f), clamped);
  r = V::fma(n, V::set1(2.12194440e-4f), r);
  V p = V::set1(1.0f / 5040);
  p = V::fma(p, r, V::set1(1.0f / 720));
  p = V::fma(p, r, V::set1(1.0f / 120));
  p = V::fma(p, r, V::set1(1.0f / 24));
  p = V::fma(p, r, V::set1(1.0f / 6));
  p = V::fma(p, r, V::set1(0.5f));
  p = V::fma(p, r, V::set1(1.0f));
  p = V::fma(p, r, V::set1(1.0f));
  return V::scale2(p, n);
}

template <class V>
float dot(const float* a, const float* b, int64_t n) {
  V sum = V::set1(0);
  for (int64_t i = 0; i < n; i += kLanes) {
    sum = V::fma(load_part<V>(a + i, n - i), load_part<V>(b + i, n - i), sum);
  }
  return sum_lanes(sum);
}

// The compiler must not have a say in how the root is computed.
static inline float inverse_root(float x) { return 1.0f / __builtin_sqrtf(x); }

template <class V>
void rms_norm(const NormArgs& a) {
  for (int64_t row = a.row_begin; row < a.row_end; ++row) {
    const float* x = a.x + row * a.n;
    const float mean = dot<V>(x, x, a.n) / static_cast<float>(a.n);
    const V inverse = V::set1(inverse_root(mean + a.eps));
    for (int64_t i = 0; i < a.n; i += kLanes) {
      const int64_t left = a.n - i;
      const V y = load_part<V>(x + i, left) * inverse * load_part<V>(a.weight + i, left);
      store_part(y, a.out + row * a.n + i, left);
    }
  }
}

template <class V>
void layer_norm(const NormArgs& a) {
  const auto count = static_cast<float>(a.n);
  for (int64_t row = a.row_begin; row < a.row_end; ++row) {
    const float* x = a.x + row * a.n;
    V sum = V::set1(0);
    for (int64_t i = 0; i < a.n; i += kLanes) sum = sum + load_part<V>(x + i, a.n - i);
    const float average = sum_lanes(sum) / count;
    const V mean = V::set1(average);
    V squares = V::set1(0);
    for (int64_t i = 0; i + kLanes <= a.n; i += kLanes) {
      const V d = V::load(x + i) - mean;
      squares = V::fma(d, d, squares);
    }
    float total = sum_lanes(squares);
    for (int64_t i = a.n - a.n % kLanes; i < a.n; ++i) {
      total += (x[i] - average) * (x[i] - average);
    }
    const V inverse = V::set1(inverse_root(total / count + a.eps));
    for (int64_t i = 0; i < a.n; i += kLanes) {
      const int64_t left = a.n - i;
      const V normal = (load_part<V>(x + i, left) - mean) * inverse;
      store_part(V::fma(normal, load_part<V>(a.weight + i, left), load_part<V>(a.bias + i, left)),
                 a.out + row * a.n + i, left);
    }
  }
}

template <class V>
void rotate(const RotateArgs& a) {
  for (int64_t t = a.token_begin; t < a.token_end; ++t) {
    const float* cosine = a.cosine + t * a.half;
    const float* sine = a.sine + t * a.half;
    for (int64_t h = 0; h < a.heads; ++h) {
      float* first = a.x + (t * a.heads + h) * 2 * a.half;
      float* second = first + a.half;
      for (int64_t i = 0; i < a.half; i += kLanes) {
        const int64_t left = a.half - i;
        const V c = load_part<V>(cosine + i, left);
        const V s = load_part<V>(sine + i, left);
        const V x = load_part<V>(first + i, left);
        const V y = load_part<V>(second + i, left);
        store_part(x * c - y * s, first + i, left);
        store_part(y * c + x * s, second + i, left);
      }
    }
  }
}

// x / (1 + e^-y): with y = x silu, with y = 2u the tanh form of GELU, since
// (1 + tanh u) / 2 = 1 / (1 + e^-2u).
template <class V>
inline V gated(const V& x, const V& y) {
  return x / (V::set1(1.0f) + exponential(V::set1(0.0f) - y));
}

template <class V>
inline V pointwise_value(const PointwiseArgs& a, int64_t i, int64_t left) {
  const V x = load_part<V>(a.a + i, left);
  switch (a.op) {
    case Pointwise::swiglu:
      return gated(x, x) * load_part<V>(a.b + i, left);
    case Pointwise::add:
      return load_part<V>(a.out + i, left) + x;
    case Pointwise::gelu_tanh:
      break;
  }
  // 2 sqrt(2/pi) (x + 0.044715 x³)
  const V cubic = V::fma(x * x * x, V::set1(0.044715f), x);
  return gated(x, cubic * V::set1(1.5957691216057308f));
}

template <class V>
void pointwise(const PointwiseArgs& a) {
  for (int64_t i = a.begin; i < a.end; i += kLanes) {
    store_part(pointwise_value<V>(a, i, a.end - i), a.out + i, a.end - i);
  }
}

template <class V>
void add_abs_sum(const ColumnSumArgs& a) {
  for (int64_t i = 0; i < a.n; i += kLanes) {
    const int64_t left = a.n - i;
    V sum = load_part<V>(a.out + i, left);
    for (int64_t t = 0; t < a.rows; ++t) sum = sum + load_part<V>(a.x + t * a.n + i, left).abs();
    store_part(sum, a.out + i, left);
  }
}

}  // namespace squint::cpu
