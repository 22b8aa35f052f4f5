// attention_kernel.h: softmax(q·k scale) · v for the queries of one key/value head.
//
// The queries of all heads that share a key/value head are packed as rows, so that each tile of
// keys is read once for all of them. The rows' scores over all visible keys are kept, in scratch:
// [kAttentionRows, keys].
#pragma once

#include "backends/cpu/gemm_kernel.h"
#include "backends/cpu/row_kernels.h"

namespace squint::cpu {

// scores[i] = e^((scores[i] - max) scale) for i < visible, 0 up to padded; returns their sum.
template <class V>
inline float soften(float* scores, int64_t visible, int64_t padded, float scale) {
  for (int64_t i = visible; i < padded; ++i) scores[i] = scores[visible - 1];
  V largest = V::load(scores);
  for (int64_t i = kLanes; i < padded; i += kLanes) largest = V::max(largest, V::load(scores + i));
  const V top = V::set1(max_lanes(largest));
  V sum = V::set1(0);
  for (int64_t i = 0; i < padded; i += kLanes) {
    exponential((V::load(scores + i) - top) * V::set1(scale)).store(scores + i);
    for (int64_t j = visible > i ? visible : i; j < i + kLanes; ++j) scores[j] = 0;
    sum = sum + V::load(scores + i);
  }
  return sum_lanes(sum);
}

// (token_end - token_begin) * heads / kv_heads must not exceed kAttentionRows.
template <class V>
void attention(const AttentionTask& a) {
  const int64_t group = a.heads / a.kv_heads;
  const int64_t rows = (a.token_end - a.token_begin) * group;
  const int64_t key_count = a.causal ? a.first_position + a.token_end : a.length;
  const int64_t d = a.head_dim;
  const int64_t padded = (key_count + kLanes - 1) / kLanes * kLanes;
  float* packed = a.scratch;
  float* scores = packed + kAttentionRows * d;
  float* mixed = scores + kAttentionRows * padded;  // [rows, 16]
  const auto row_of = [&](int64_t r) {
    return ((a.token_begin + r / group) * a.heads + a.kv_head * group + r % group) * d;
  };
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t i = 0; i < d; ++i) packed[r * d + i] = a.query[row_of(r) + i];
  }
  const float* keys = a.keys + a.kv_head * a.capacity * d;
  for (int64_t key = 0; key < key_count; key += kLanes) {
    multiply<V>({.x = packed,
                 .x_stride = d,
                 .b = keys + key * d,
                 .b_stride = kLanes,
                 .count = d,
                 .c = scores + key,
                 .c_stride = padded,
                 .add = false},
                rows);
  }
  float inverse[kAttentionRows];
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t visible = a.causal ? a.first_position + a.token_begin + r / group + 1 : key_count;
    inverse[r] = 1.0f / soften<V>(scores + r * padded, visible, padded, a.scale);
  }
  const float* values = a.values + a.kv_head * a.capacity * a.value_stride;
  for (int64_t i = 0; i < d; i += kLanes) {
    multiply<V>({.x = scores,
                 .x_stride = padded,
                 .b = values + i,
                 .b_stride = a.value_stride,
                 .count = key_count,
                 .c = mixed,
                 .c_stride = kLanes,
                 .add = false},
                rows);
    for (int64_t r = 0; r < rows; ++r) {
      store_part(V::load(mixed + r * kLanes) * V::set1(inverse[r]), a.out + row_of(r) + i, d - i);
    }
  }
}

}  // namespace squint::cpu
