// fast_attention_kernel.h: softmax(q·k scale) · v over a block of keys and values in bf16.
#pragma once

#include "backends/cpu/fast_kernel_args.h"
#include "backends/cpu/row_kernels.h"

namespace squint::cpu {

// c[r][j][0..15] = Σ_k x[r][k] b[k][j][0..15]
struct HalfTile {
  const float* x;
  int64_t x_stride;
  const uint16_t* b;  // bf16
  int64_t b_stride;   // to the next k
  int64_t b_columns;  // to the next j
  int64_t count;
  float* c;
  int64_t c_stride;
};

template <class V, int kRows, int kColumns>
inline void multiply_half_tile(const HalfTile& t) {
  V sum[kRows][kColumns];
  for (int r = 0; r < kRows; ++r) {
    for (int j = 0; j < kColumns; ++j) sum[r][j] = V::set1(0);
  }
  for (int64_t k = 0; k < t.count; ++k) {
    V b[kColumns];
    for (int j = 0; j < kColumns; ++j) b[j] = V::load_bf16(t.b + k * t.b_stride + j * t.b_columns);
    for (int r = 0; r < kRows; ++r) {
      const V x = V::set1(t.x[r * t.x_stride + k]);
      for (int j = 0; j < kColumns; ++j) sum[r][j] = V::fma(x, b[j], sum[r][j]);
    }
  }
  for (int r = 0; r < kRows; ++r) {
    for (int j = 0; j < kColumns; ++j) sum[r][j].store(t.c + r * t.c_stride + j * kLanes);
  }
}

template <class V, int kRows, int kColumns>
inline void multiply_last_half(const HalfTile& t, int64_t rows) {
  if constexpr (kRows > 0) {
    if (rows == kRows) return multiply_half_tile<V, kRows, kColumns>(t);
    multiply_last_half<V, kRows - 1, kColumns>(t, rows);
  }
}

// For `columns` vectors side by side. Few rows take several at once: chains enough to hide the
// latency of a multiply-add, and longer runs of memory.
template <class V>
inline void multiply_half(HalfTile t, int64_t rows, int64_t columns) {
  constexpr bool kManyRegisters = V::kRows > 8;
  constexpr int kRows = kManyRegisters ? 16 : 6;
  constexpr int kFewRows = kManyRegisters ? 4 : 3;
  constexpr int kWide = kManyRegisters ? 4 : 2;
  if (rows <= kFewRows) {
    for (; columns >= kWide; columns -= kWide) {
      multiply_last_half<V, kFewRows, kWide>(t, rows);
      t.b += kWide * t.b_columns;
      t.c += kWide * kLanes;
    }
  }
  for (; columns > 0; --columns) {
    HalfTile part = t;
    int64_t left = rows;
    for (; left >= kRows; left -= kRows) {
      multiply_half_tile<V, kRows, 1>(part);
      part.x += kRows * part.x_stride;
      part.c += kRows * part.c_stride;
    }
    multiply_last_half<V, kRows - 1, 1>(part, left);
    t.b += t.b_columns;
    t.c += kLanes;
  }
}

// scores[i] = e^((scores[i] - largest) scale) for i < visible, 0 up to padded.
template <class V>
inline void soften_block(float* scores, int64_t visible, int64_t padded, float scale,
                         float& largest, float& sum) {
  for (int64_t i = visible; i < padded; ++i) scores[i] = scores[visible - 1];
  V most = V::load(scores);
  for (int64_t i = kLanes; i < padded; i += kLanes) most = V::max(most, V::load(scores + i));
  const float top = max_lanes(most);
  V total = V::set1(0);
  for (int64_t i = 0; i < padded; i += kLanes) {
    exponential((V::load(scores + i) - V::set1(top)) * V::set1(scale)).store(scores + i);
    for (int64_t j = visible > i ? visible : i; j < i + kLanes; ++j) scores[j] = 0;
    total = total + V::load(scores + i);
  }
  largest = top * scale;
  sum = sum_lanes(total);
}

template <class V>
void attend_block(const KeyBlockTask& a) {
  const int64_t tiles = (a.count + kLanes - 1) / kLanes;
  const int64_t padded = tiles * kLanes;
  multiply_half<V>({.x = a.queries,
                    .x_stride = a.head_dim,
                    .b = a.keys,
                    .b_stride = kLanes,
                    .b_columns = a.head_dim * kLanes,
                    .count = a.head_dim,
                    .c = a.scores,
                    .c_stride = kKeyBlock},
                   a.rows, tiles);
  for (int64_t r = 0; r < a.rows; ++r) {
    float* scores = a.scores + r * kKeyBlock;
    if (a.visible[r] > 0) {
      const int64_t visible = a.visible[r] < a.count ? a.visible[r] : a.count;
      soften_block<V>(scores, visible, padded, a.scale, a.out.largest[r], a.out.sums[r]);
    } else {
      for (int64_t i = 0; i < padded; ++i) scores[i] = 0;
    }
  }
  multiply_half<V>({.x = a.scores,
                    .x_stride = kKeyBlock,
                    .b = a.values,
                    .b_stride = a.value_stride,
                    .b_columns = kLanes,
                    .count = a.count,
                    .c = a.out.mixed,
                    .c_stride = a.value_stride},
                   a.rows, a.value_stride / kLanes);
}

template <class V>
void merge_parts(const MergeTask& a) {
  for (int64_t r = 0; r < a.rows; ++r) {
    if (a.visible[r] <= 0) continue;
    const float old_largest = a.total.largest[r];
    const float new_largest = a.part.largest[r];
    const float largest = old_largest > new_largest ? old_largest : new_largest;
    alignas(64) float weights[kLanes];
    exponential(V::set1(old_largest - largest)).store(weights);
    const float keep = weights[0];
    exponential(V::set1(new_largest - largest)).store(weights);
    const float take = weights[0];
    a.total.largest[r] = largest;
    a.total.sums[r] = a.total.sums[r] * keep + a.part.sums[r] * take;
    for (int64_t i = 0; i < a.value_stride; i += kLanes) {
      float* at = a.total.mixed + r * a.value_stride + i;
      const V added = V::load(a.part.mixed + r * a.value_stride + i) * V::set1(take);
      V::fma(V::load(at), V::set1(keep), added).store(at);
    }
  }
}

}  // namespace squint::cpu
