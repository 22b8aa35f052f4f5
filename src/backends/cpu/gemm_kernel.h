// gemm_kernel.h: out = x Wᵀ + b over panels of 16 output features.
//
//     out[r, n] = Σ_k x[r, k] w[n, k]           one chain of FMAs per element, k ascending
//
// Many rows: a block of 256 columns of one panel is unpacked to floats in L1, then multiplied with
// kRows rows at a time. One row: the weights go from memory to registers, four panels abreast so
// that four chains hide the latency of an FMA.
#pragma once

#include "backends/cpu/kernel_args.h"

namespace squint::cpu {

// Reads column k of a panel as 16 floats; integer formats apply the scale and zero of one group.
template <class V>
struct F32Columns {
  const float* values;
  F32Columns(const Panels& w, int64_t panel, int64_t)
      : values(static_cast<const float*>(w.values) + panel * w.in * kLanes) {}
  V operator()(int64_t k) const { return V::load(values + k * kLanes); }
};

template <class V>
struct Bf16Columns {
  const uint16_t* values;
  Bf16Columns(const Panels& w, int64_t panel, int64_t)
      : values(static_cast<const uint16_t*>(w.values) + panel * w.in * kLanes) {}
  V operator()(int64_t k) const { return V::load_bf16(values + k * kLanes); }
};

template <class V>
struct GroupOf {
  V scale;
  V zero;
  GroupOf(const Panels& w, int64_t panel, int64_t group) {
    const int64_t at = (panel * (w.in / w.group_columns) + group) * kLanes;
    scale = V::load(w.scales + at);
    zero = V::load(w.zeros + at);
  }
  V dequantize(const V& code) const { return (code - zero) * scale; }
};

template <class V>
struct Int8Columns : GroupOf<V> {
  const uint8_t* codes;
  Int8Columns(const Panels& w, int64_t panel, int64_t group)
      : GroupOf<V>(w, panel, group),
        codes(static_cast<const uint8_t*>(w.values) + panel * w.in * kLanes) {}
  V operator()(int64_t k) const { return this->dequantize(V::load_u8(codes + k * kLanes)); }
};

template <class V>
struct Int4Columns : GroupOf<V> {
  const uint8_t* codes;
  Int4Columns(const Panels& w, int64_t panel, int64_t group)
      : GroupOf<V>(w, panel, group),
        codes(static_cast<const uint8_t*>(w.values) + panel * w.in * (kLanes / 2)) {}
  V operator()(int64_t k) const { return this->dequantize(V::load_u4(codes + k * (kLanes / 2))); }
};

// c[i, 0..15] = (add ? c : 0) + Σ_k x[i, k] b[k, 0..15] for kRows rows.
struct TileArgs {
  const float* x;
  int64_t x_stride;
  const float* b;
  int64_t b_stride;
  int64_t count;
  float* c;
  int64_t c_stride;
  bool add;
};

template <class V, int kRows>
inline void multiply_rows(const TileArgs& t) {
  V sum[kRows];
  for (int i = 0; i < kRows; ++i) sum[i] = t.add ? V::load(t.c + i * t.c_stride) : V::set1(0);
  for (int64_t k = 0; k < t.count; ++k) {
    const V column = V::load(t.b + k * t.b_stride);
    for (int i = 0; i < kRows; ++i) {
      sum[i] = V::fma(V::set1(t.x[i * t.x_stride + k]), column, sum[i]);
    }
  }
  for (int i = 0; i < kRows; ++i) sum[i].store(t.c + i * t.c_stride);
}

template <class V, int kRows>
inline void multiply_last_rows(const TileArgs& t, int64_t rows) {
  if constexpr (kRows > 0) {
    if (rows == kRows) return multiply_rows<V, kRows>(t);
    multiply_last_rows<V, kRows - 1>(t, rows);
  }
}

// The same for any number of rows.
template <class V>
inline void multiply(TileArgs t, int64_t rows) {
  for (; rows >= V::kRows; rows -= V::kRows) {
    multiply_rows<V, V::kRows>(t);
    t.x += V::kRows * t.x_stride;
    t.c += V::kRows * t.c_stride;
  }
  multiply_last_rows<V, V::kRows - 1>(t, rows);
}

// Calls body(group, begin, end) for the parts of columns [begin, end) that share a group.
template <class Body>
inline void for_groups(const Panels& w, int64_t begin, int64_t end, const Body& body) {
  while (begin < end) {
    const int64_t group = begin / w.group_columns;
    const int64_t stop = (group + 1) * w.group_columns;
    body(group, begin, stop < end ? stop : end);
    begin = stop;
  }
}

template <class V>
inline void store_row(const GemmArgs& a, int64_t row, int64_t panel, V sum) {
  const int64_t first = panel * kLanes;
  float* out = a.out + row * a.weight.out + first;
  const int64_t lanes = a.weight.out - first;
  if (lanes >= kLanes) {
    if (a.bias != nullptr) sum = sum + V::load(a.bias + first);
    sum.store(out);
    return;
  }
  alignas(64) float part[kLanes];
  sum.store(part);
  for (int64_t i = 0; i < lanes; ++i) {
    out[i] = a.bias != nullptr ? part[i] + a.bias[first + i] : part[i];
  }
}

template <class V, template <class> class Columns>
void gemm_rows(const GemmArgs& a) {
  alignas(64) float block[kBlockCols * kLanes];
  alignas(64) float sums[kBlockRows * kLanes];
  for (int64_t row = 0; row < a.rows; row += kBlockRows) {
    const int64_t rows = a.rows - row < kBlockRows ? a.rows - row : kBlockRows;
    for (int64_t panel = a.panel_begin; panel < a.panel_end; ++panel) {
      for (int64_t k = 0; k < a.weight.in; k += kBlockCols) {
        const int64_t end = k + kBlockCols < a.weight.in ? k + kBlockCols : a.weight.in;
        for_groups(a.weight, k, end, [&](int64_t group, int64_t from, int64_t to) {
          const Columns<V> columns(a.weight, panel, group);
          for (int64_t j = from; j < to; ++j) columns(j).store(block + (j - k) * kLanes);
        });
        multiply<V>({.x = a.x + row * a.weight.in + k,
                     .x_stride = a.weight.in,
                     .b = block,
                     .b_stride = kLanes,
                     .count = end - k,
                     .c = sums,
                     .c_stride = kLanes,
                     .add = k > 0},
                    rows);
      }
      for (int64_t r = 0; r < rows; ++r) store_row(a, row + r, panel, V::load(sums + r * kLanes));
    }
  }
}

template <class V, template <class> class Columns, int kPanels>
inline void gemv_panels(const GemmArgs& a, int64_t panel) {
  V sum[kPanels];
  for (int p = 0; p < kPanels; ++p) sum[p] = V::set1(0);
  for_groups(a.weight, 0, a.weight.in, [&](int64_t group, int64_t from, int64_t to) {
    const auto columns = [&](int p) { return Columns<V>(a.weight, panel + p, group); };
    if constexpr (kPanels == 4) {
      const Columns<V> c0 = columns(0), c1 = columns(1), c2 = columns(2), c3 = columns(3);
      for (int64_t k = from; k < to; ++k) {
        const V x = V::set1(a.x[k]);
        sum[0] = V::fma(x, c0(k), sum[0]);
        sum[1] = V::fma(x, c1(k), sum[1]);
        sum[2] = V::fma(x, c2(k), sum[2]);
        sum[3] = V::fma(x, c3(k), sum[3]);
      }
    } else {
      const Columns<V> c0 = columns(0);
      for (int64_t k = from; k < to; ++k) sum[0] = V::fma(V::set1(a.x[k]), c0(k), sum[0]);
    }
  });
  for (int p = 0; p < kPanels; ++p) store_row(a, 0, panel + p, sum[p]);
}

template <class V, template <class> class Columns>
void gemm_format(const GemmArgs& a) {
  if (a.rows != 1) return gemm_rows<V, Columns>(a);
  int64_t panel = a.panel_begin;
  for (; panel + 4 <= a.panel_end; panel += 4) gemv_panels<V, Columns, 4>(a, panel);
  for (; panel < a.panel_end; ++panel) gemv_panels<V, Columns, 1>(a, panel);
}

template <class V>
void gemm(const GemmArgs& a) {
  switch (a.weight.format) {
    case PanelFormat::f32:
      return gemm_format<V, F32Columns>(a);
    case PanelFormat::bf16:
      return gemm_format<V, Bf16Columns>(a);
    case PanelFormat::int8:
      return gemm_format<V, Int8Columns>(a);
    case PanelFormat::int4:
      return gemm_format<V, Int4Columns>(a);
  }
}

// out[m, n] += Σ_t x[t, m] y[t, n] for the 16 columns n of one panel and kRows rows m.
template <class V, int kRows>
inline void moment_rows(const MomentArgs& a, int64_t m, int64_t lanes) {
  V sum[kRows];
  for (int i = 0; i < kRows; ++i) sum[i] = V::set1(0);
  const float* rows = a.x + m * a.tokens;
  const float* columns = a.y + a.panel * a.tokens * kLanes;
  for (int64_t t = 0; t < a.tokens; ++t) {
    const V column = V::load(columns + t * kLanes);
    for (int i = 0; i < kRows; ++i) {
      sum[i] = V::fma(V::set1(rows[i * a.tokens + t]), column, sum[i]);
    }
  }
  alignas(64) float part[kLanes];
  for (int i = 0; i < kRows; ++i) {
    float* out = a.out + (m + i) * a.n + a.panel * kLanes;
    sum[i].store(part);
    for (int64_t j = 0; j < lanes; ++j) out[j] += part[j];
  }
}

template <class V, int kRows>
inline void moment_last_rows(const MomentArgs& a, int64_t m, int64_t rows, int64_t lanes) {
  if constexpr (kRows > 0) {
    if (rows == kRows) return moment_rows<V, kRows>(a, m, lanes);
    moment_last_rows<V, kRows - 1>(a, m, rows, lanes);
  }
}

template <class V>
inline void moment_panel(const MomentArgs& a, int64_t lanes, int64_t end) {
  int64_t m = 0;
  for (; m + V::kRows <= end; m += V::kRows) moment_rows<V, V::kRows>(a, m, lanes);
  moment_last_rows<V, V::kRows - 1>(a, m, end - m, lanes);
}

template <class V>
void add_second_moment(const MomentArgs& a) {
  const int64_t first = a.panel * kLanes;
  const int64_t lanes = a.n - first < kLanes ? a.n - first : kLanes;
  moment_panel<V>(a, lanes, first + lanes);  // rows on and above the diagonal
}

template <class V>
void add_cross_moment(const MomentArgs& a) {
  const int64_t first = a.panel * kLanes;
  moment_panel<V>(a, a.n - first < kLanes ? a.n - first : kLanes, a.n);
}

}  // namespace squint::cpu
