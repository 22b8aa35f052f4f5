// gradient_kernel.h: gradients of the norm, of SwiGLU and of attention; the formulas are those in
// backends/reference/gradients.cpp.
#pragma once

#include "backends/cpu/attention_kernel.h"

namespace squint::cpu {

template <class V>
void rms_norm_gradient(const NormGradientArgs& a) {
  const auto count = static_cast<float>(a.n);
  for (int64_t row = a.row_begin; row < a.row_end; ++row) {
    const float* x = a.x + row * a.n;
    const float* dy = a.d_out + row * a.n;
    const float r = inverse_root(dot<V>(x, x, a.n) / count + a.eps);
    V along = V::set1(0);
    for (int64_t i = 0; i < a.n; i += kLanes) {
      const int64_t left = a.n - i;
      const V weighted = load_part<V>(a.weight + i, left) * load_part<V>(dy + i, left);
      along = V::fma(load_part<V>(x + i, left), weighted, along);
    }
    const V common = V::set1(sum_lanes(along) * r * r * r / count);
    for (int64_t i = 0; i < a.n; i += kLanes) {
      const int64_t left = a.n - i;
      const V weighted = load_part<V>(a.weight + i, left) * load_part<V>(dy + i, left);
      store_part(weighted * V::set1(r) - load_part<V>(x + i, left) * common, a.d_x + row * a.n + i,
                 left);
    }
  }
}

template <class V>
void swiglu_gradient(const SwigluGradientArgs& a) {
  const V one = V::set1(1.0f);
  for (int64_t i = a.begin; i < a.end; i += kLanes) {
    const int64_t left = a.end - i;
    const V g = load_part<V>(a.gate + i, left);
    const V u = load_part<V>(a.up + i, left);
    const V dy = load_part<V>(a.d_out + i, left);
    const V s = one / (one + exponential(V::set1(0.0f) - g));
    store_part(dy * u * (s * V::fma(g, one - s, one)), a.d_gate + i, left);
    store_part(dy * (g * s), a.d_up + i, left);
  }
}

// y += factor x
template <class V>
inline void add_scaled(float factor, const float* x, float* y, int64_t n) {
  const V f = V::set1(factor);
  for (int64_t i = 0; i < n; i += kLanes) {
    const int64_t left = n - i;
    store_part(V::fma(f, load_part<V>(x + i, left), load_part<V>(y + i, left)), y + i, left);
  }
}

// The queries of one key/value head, head after head, token after token.
template <class V>
void attention_gradient(const AttentionGradientTask& a) {
  const int64_t group = a.heads / a.kv_heads;
  const int64_t d = a.head_dim;
  const auto kv = [&](int64_t t) { return (t * a.kv_heads + a.kv_head) * d; };
  float* p = a.scratch;
  float* dp = a.scratch + (a.tokens + kLanes - 1) / kLanes * kLanes;
  for (int64_t t = 0; t < a.tokens; ++t) {
    for (int64_t i = 0; i < d; ++i) a.d_key[kv(t) + i] = a.d_value[kv(t) + i] = 0;
  }
  for (int64_t h = a.kv_head * group; h < (a.kv_head + 1) * group; ++h) {
    for (int64_t t = 0; t < a.tokens; ++t) {
      const float* q = a.query + (t * a.heads + h) * d;
      const float* dy = a.d_out + (t * a.heads + h) * d;
      float* dq = a.d_query + (t * a.heads + h) * d;
      const int64_t keys = t + 1;
      const int64_t padded = (keys + kLanes - 1) / kLanes * kLanes;
      for (int64_t j = 0; j < keys; ++j) {
        p[j] = dot<V>(q, a.key + kv(j), d);
        dp[j] = dot<V>(dy, a.value + kv(j), d);
      }
      for (int64_t j = keys; j < padded; ++j) dp[j] = 0;
      const V inverse = V::set1(1.0f / soften<V>(p, keys, padded, a.scale));
      V mean = V::set1(0);
      for (int64_t j = 0; j < padded; j += kLanes) {
        const V weight = V::load(p + j) * inverse;
        weight.store(p + j);
        mean = V::fma(weight, V::load(dp + j), mean);
      }
      const float average = sum_lanes(mean);
      for (int64_t i = 0; i < d; ++i) dq[i] = 0;
      for (int64_t j = 0; j < keys; ++j) {
        const float ds = p[j] * (dp[j] - average) * a.scale;
        add_scaled<V>(ds, a.key + kv(j), dq, d);
        add_scaled<V>(ds, q, a.d_key + kv(j), d);
        add_scaled<V>(p[j], dy, a.d_value + kv(j), d);
      }
    }
  }
}

}  // namespace squint::cpu
