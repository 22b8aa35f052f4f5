// code_product_kernel.h: bytes of activations times weights of four or eight bits.
//
// D is an instruction set's integer side (dots_*.h). A tile is kPanels panels by kTokens rows of x,
// its integer sums and its part of a group in registers, its running total on the stack.
#pragma once

#include "backends/cpu/fast_kernel_args.h"
#include "backends/cpu/row_kernels.h"

namespace squint::cpu {

// How far ahead of the weights that are read the next are asked for, in bytes: a microsecond or so.
inline constexpr int64_t kPrefetch = 4096;

struct CodeTile {
  const CodeStrips* weight;
  int64_t strip;
  int64_t panel;  // of the strip
  const ByteRows* x;
  int64_t row;
};

// A group's scales and what a zero point away from the middle takes off, for each panel.
template <class V, bool kZeros, int kPanels>
struct CodeGroup {
  V scale[kPanels];
  V shift[kPanels];

  CodeGroup(const CodeTile& t, int64_t group) {
    const CodeStrips& w = *t.weight;
    const int64_t at = (t.strip * w.groups + group) * kStripRows + t.panel * kLanes;
    for (int p = 0; p < kPanels; ++p) {
      scale[p] = V::load_bf16(w.scales + at + p * kLanes);
      if constexpr (kZeros) {
        const V middle = V::set1(w.bits == 4 ? 8.0f : 128.0f);
        shift[p] = middle - V::load_u8(w.zeros + at + p * kLanes);
      }
    }
  }
};

// f(0) .. f(kCount - 1), written out before compilers decide what lives in registers: loops are
// unrolled after that, and then arrays of pairs of registers stay in memory.
template <int kCount, class F>
[[gnu::always_inline]] inline void each(const F& f) {
  if constexpr (kCount > 0) {
    each<kCount - 1>(f);
    f(kCount - 1);
  }
}

// Adds a block's products to a group's parts. `x` is of the tile's first row.
template <class D, class Format, bool kZeros, int kPanels, int kTokens>
inline void add_code_block(const uint8_t* codes, const BytePlane& x, int64_t block, int64_t blocks,
                           const CodeGroup<typename D::Lanes, kZeros, kPanels>& group,
                           typename D::Lanes (&part)[kTokens][kPanels]) {
  using V = typename D::Lanes;
  constexpr int64_t kPanelBytes = Format::kPanelBytes;
  typename Format::Sum sums[kTokens][kPanels];
  each<kTokens>([&](int i) __attribute__((always_inline)) {
    const auto start = Format::start(x.negative_sums[i * blocks + block]);
    each<kPanels>([&](int p) __attribute__((always_inline)) { sums[i][p] = start; });
  });
  const auto add_four = [&](const int8_t* at, const typename Format::Codes(&four)[kPanels])
      __attribute__((always_inline)) {
    each<kTokens>([&](int i) __attribute__((always_inline)) {
      const auto four_x = D::four(at + i * blocks * kCodeBlock);
      each<kPanels>([&](int p) __attribute__((always_inline)) {
        Format::add(sums[i][p], four[p], four_x);
      });
    });
  };
  for (int64_t step = 0; step < kCodeBlock / 8; ++step) {
    const uint8_t* at = codes + step * (kPanelBytes / 4);
    const int8_t* x_at = x.codes + block * kCodeBlock + step * 8;
    typename Format::Codes four[kPanels];
    each<kPanels>([&](int p) __attribute__((always_inline)) {
      if constexpr (kTokens == 1) D::prefetch(at + p * kPanelBytes + kPrefetch);
      if constexpr (kTokens == 1 && kPanelBytes > 256) {
        D::prefetch(at + p * kPanelBytes + kPrefetch + 64);
      }
      four[p] = Format::even(at + p * kPanelBytes);
    });
    add_four(x_at, four);
    each<kPanels>([&](int p) __attribute__((always_inline)) {
      four[p] = Format::odd(at + p * kPanelBytes);
    });
    add_four(x_at + 4, four);
  }
  each<kTokens>([&](int i) __attribute__((always_inline)) {
    const float scale = x.scales[i * blocks + block];
    const int32_t negative_sum = x.negative_sums[i * blocks + block];
    each<kPanels>([&](int p) __attribute__((always_inline)) {
      part[i][p] = V::fma(Format::finish(sums[i][p], negative_sum), V::set1(scale), part[i][p]);
      if constexpr (kZeros) {
        const V x_sum = V::set1(scale * static_cast<float>(-negative_sum));
        part[i][p] = V::fma(group.shift[p], x_sum, part[i][p]);
      }
    });
  });
}

// The same as a function of its own: where registers are few, parts then wait in memory and the
// sums are in registers, not the other way round.
template <class D, class Format, bool kZeros, int kPanels, int kTokens>
[[gnu::noinline]] void add_code_block_apart(
    const uint8_t* codes, const BytePlane& x, int64_t block, int64_t blocks,
    const CodeGroup<typename D::Lanes, kZeros, kPanels>& group,
    typename D::Lanes (&part)[kTokens][kPanels]) {
  add_code_block<D, Format, kZeros, kPanels, kTokens>(codes, x, block, blocks, group, part);
}

inline constexpr BytePlane plane_at(const BytePlane& plane, int64_t row, int64_t blocks) {
  return {.codes = plane.codes + row * blocks * kCodeBlock,
          .scales = plane.scales + row * blocks,
          .negative_sums = plane.negative_sums + row * blocks};
}

// total [kPanels][kTokens][16] = the tile's products.
template <class D, class Format, bool kZeros, int kPanels, int kTokens>
inline void multiply_code_tile(const CodeTile& t, float* total) {
  using V = typename D::Lanes;
  const CodeStrips& w = *t.weight;
  const int64_t blocks = t.x->blocks;
  const uint8_t* codes =
      w.codes + (t.strip * blocks * kStripPanels + t.panel) * Format::kPanelBytes;
  const BytePlane first = plane_at(t.x->first, t.row, blocks);
  const BytePlane second = plane_at(t.x->second, t.row, blocks);
  const uint8_t* twice = t.x->twice + t.row * blocks;
  for (int i = 0; i < kPanels * kTokens; ++i) V::set1(0).store(total + i * kLanes);
  for (int64_t g = 0, block = 0; g < w.groups; ++g) {
    const int64_t end = block + w.group_blocks < blocks ? block + w.group_blocks : blocks;
    const CodeGroup<V, kZeros, kPanels> group(t, g);
    V part[kTokens][kPanels];
    for (int i = 0; i < kTokens; ++i) {
      for (int p = 0; p < kPanels; ++p) part[i][p] = V::set1(0);
    }
    for (; block < end; ++block, codes += kStripPanels * Format::kPanelBytes) {
      const auto add = [&](const BytePlane& x) {
        if constexpr (D::kFewRegisters) {
          add_code_block_apart<D, Format, kZeros, kPanels, kTokens>(codes, x, block, blocks, group,
                                                                    part);
        } else {
          add_code_block<D, Format, kZeros, kPanels, kTokens>(codes, x, block, blocks, group, part);
        }
      };
      add(first);
      // Of a row that needs no second plane, it adds zeros.
      uint8_t any = 0;
      for (int i = 0; i < kTokens; ++i) any |= twice[i * blocks + block];
      if (any != 0) add(second);
    }
    for (int i = 0; i < kTokens; ++i) {
      for (int p = 0; p < kPanels; ++p) {
        float* at = total + (p * kTokens + i) * kLanes;
        V::fma(part[i][p], group.scale[p], V::load(at)).store(at);
      }
    }
  }
}

// Stores what a tile found: up's half, if any, follows.
template <class D, int kPanels, int kTokens>
inline void store_code_tile(const CodeProductArgs& a, const CodeTile& t, const float* total,
                            const float* upper) {
  using V = typename D::Lanes;
  for (int p = 0; p < kPanels; ++p) {
    const int64_t first = t.strip * kStripRows + (t.panel + p) * kLanes;
    const int64_t lanes = a.weight.out - first;
    if (lanes <= 0) return;
    for (int i = 0; i < kTokens; ++i) {
      float* out = a.out + (t.row + i) * a.weight.out + first;
      V y = V::load(total + (p * kTokens + i) * kLanes);
      if (a.bias != nullptr) y = y + load_part<V>(a.bias + first, lanes);
      if (upper != nullptr) y = gated(y, y) * V::load(upper + (p * kTokens + i) * kLanes);
      if (a.add) y = load_part<V>(out, lanes) + y;
      store_part(y, out, lanes);
    }
  }
}

template <class D, class Format, bool kZeros, int kPanels, int kTokens>
inline void run_code_tile(const CodeProductArgs& a, CodeTile t) {
  alignas(64) float total[kPanels * kTokens * kLanes];
  alignas(64) float upper[kPanels * kTokens * kLanes];
  multiply_code_tile<D, Format, kZeros, kPanels, kTokens>(t, total);
  if (a.up != nullptr) {
    t.weight = a.up;
    multiply_code_tile<D, Format, kZeros, kPanels, kTokens>(t, upper);
  }
  store_code_tile<D, kPanels, kTokens>(a, t, total, a.up != nullptr ? upper : nullptr);
}

template <class D, class Format, bool kZeros, int kTokens>
inline void run_last_tokens(const CodeProductArgs& a, const CodeTile& t, int64_t rows) {
  if constexpr (kTokens > 0) {
    if (rows == kTokens) return run_code_tile<D, Format, kZeros, D::kPanels, kTokens>(a, t);
    run_last_tokens<D, Format, kZeros, kTokens - 1>(a, t, rows);
  }
}

template <class D, class Format, bool kZeros>
void multiply_strips(const CodeProductArgs& a) {
  for (int64_t strip = a.strip_begin; strip < a.strip_end; ++strip) {
    const int64_t left = a.weight.out - strip * kStripRows;
    const int64_t panels = left < kStripRows ? (left + kLanes - 1) / kLanes : kStripPanels;
    CodeTile t{.weight = &a.weight, .strip = strip, .panel = 0, .x = &a.x, .row = 0};
    if (a.rows == 1) {
      for (; t.panel < panels; t.panel += D::kPanelsOfOne) {
        run_code_tile<D, Format, kZeros, D::kPanelsOfOne, 1>(a, t);
      }
      continue;
    }
    for (; t.panel < panels; t.panel += D::kPanels) {
      for (t.row = 0; t.row + D::kTokens <= a.rows; t.row += D::kTokens) {
        run_code_tile<D, Format, kZeros, D::kPanels, D::kTokens>(a, t);
      }
      run_last_tokens<D, Format, kZeros, D::kTokens - 1>(a, t, a.rows - t.row);
    }
  }
}

template <class D>
void multiply_codes(const CodeProductArgs& a) {
  const bool zeros = a.weight.zeros != nullptr;
  if (a.weight.bits == 4) {
    return zeros ? multiply_strips<D, typename D::Nibbles, true>(a)
                 : multiply_strips<D, typename D::Nibbles, false>(a);
  }
  return zeros ? multiply_strips<D, typename D::Bytes, true>(a)
               : multiply_strips<D, typename D::Bytes, false>(a);
}

// Rounds rows to bytes: a block's largest value becomes 127, and so does half a step of the first
// plane in the second.
template <class D>
void to_bytes(const ToBytesArgs& a) {
  using V = typename D::Lanes;
  const auto store = [](const V& x, const V& y, const BytePlane& to, int64_t at, float scale) {
    to.scales[at] = scale;
    to.negative_sums[at] = -D::store_bytes(x, y, to.codes + at * kCodeBlock);
  };
  for (int64_t at = 0; at < a.rows * a.out.blocks; ++at) {
    const int64_t row = at / a.out.blocks;
    const int64_t column = at % a.out.blocks * kCodeBlock;
    const int64_t left = a.n - column;
    const float* from = a.x + row * a.n + column;
    const V x = load_part<V>(from, left);
    const V y = left > kLanes ? load_part<V>(from + kLanes, left - kLanes) : V::set1(0);
    const float largest = D::largest(V::max(x.abs(), y.abs()));
    const float squares = D::sum(V::fma(x, x, y * y));
    const float scale = largest / 127.0f;
    const V inverse = V::set1(largest > 0 ? 127.0f / largest : 0.0f);
    const V first_x = (x * inverse).rint();
    const V first_y = (y * inverse).rint();
    store(first_x, first_y, a.out.first, at, scale);
    const bool twice = largest * largest * kCodeBlock > a.most_crest * a.most_crest * squares;
    a.out.twice[at] = twice;
    if (!twice) {
      store(V::set1(0), V::set1(0), a.out.second, at, 0);
      continue;
    }
    const V minus_scale = V::set1(-scale);
    const V finer = V::set1(largest > 0 ? 254.0f * 127.0f / largest : 0.0f);
    store((V::fma(first_x, minus_scale, x) * finer).rint(),
          (V::fma(first_y, minus_scale, y) * finer).rint(), a.out.second, at, scale / 254.0f);
  }
}

}  // namespace squint::cpu
