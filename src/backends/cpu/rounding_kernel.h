// rounding_kernel.h: rounding that looks at the whole row:
//
//     1. ranges    scale and zero point of each group, by error weighted with E[x²]
//     2. feedback  column after column, each taking over the errors made so far (GPTQ's rounding in
//                  the form of Chee et al., "QuIP", 2023, theorem 6)
//     3. descent   on tr(E H Eᵀ), E = w - ŵ: scales in closed form, then one integer after another
//
// A layer of an 8B has a H of 0.6 GB. What must go column by column stays within a block of
// columns; what it means for all others is a product, for which a piece of H is read once for many
// rows.
//
// A row's arithmetic does not depend on its neighbours, so neither threads nor batches change it.
#pragma once

#include <cstddef>

#include "backends/cpu/rounding_panel.h"

namespace squint::cpu {

// out[m, 0..15] += Σ tile(place, m) · value, m < kCount, over the changes.
template <class V, int kCount, int64_t kOutStride, int64_t kInStride>
inline void add_tile_products(const float* tile, const BlockChanges& changes, float* out) {
  V sums[kCount];
  for (int m = 0; m < kCount; ++m) sums[m] = V::load(out + m * kLanes);
  for (int64_t i = 0; i < changes.count; ++i) {
    const V value = V::load(changes.values + i * kLanes);
    const float* factors = tile + changes.places[i] * kInStride;
    for (int m = 0; m < kCount; ++m) {
      sums[m] = V::fma(V::set1(factors[m * kOutStride]), value, sums[m]);
    }
  }
  for (int m = 0; m < kCount; ++m) sums[m].store(out + m * kLanes);
}

template <class V>
class RoundingRows {
 public:
  explicit RoundingRows(const RoundingArgs& a)
      : a_(a),
        panels_((a.row_end - a.row_begin + kLanes - 1) / kLanes),
        panel_floats_(rounding_panel_floats(a.in, a.in / a.group_columns)),
        tile_(a.scratch),
        block_(tile_ + kRoundingTile * kRoundingBlock),
        panel_scratch_(block_ + kRoundingBlock * kRoundingBlock) {
    for (int64_t p = 0; p < panels_; ++p) {
      changes_[p].values = panel_scratch_ + panels_ * panel_floats_ + p * kRoundingBlock * kLanes;
    }
  }

  void run() {
    each_panel([](RoundingPanel<V>& panel, BlockChanges&) {
      panel.load();
      panel.find_ranges();
    });
    if (a_.feedback != nullptr) {
      round_with_feedback();
    } else {
      each_panel([](RoundingPanel<V>& panel, BlockChanges&) { panel.round_alone(); });
    }
    each_panel([](RoundingPanel<V>& panel, BlockChanges&) { panel.start_descent(); });
    for (int round = 0; round < a_.rounds; ++round) {
      compute_residual();
      for (int64_t group = 0; group < a_.in / a_.group_columns; ++group) refit_scales(group);
      each_block(0, a_.in, [&](int64_t first, int64_t count) { move_integers(first, count); });
    }
    each_panel([](RoundingPanel<V>& panel, BlockChanges&) { panel.store(); });
  }

 private:
  using Target = float* (RoundingPanel<V>::*)() const;

  template <class Body>
  void each_panel(const Body& body) {
    for (int64_t p = 0; p < panels_; ++p) {
      RoundingPanel<V> panel(a_, a_.row_begin + p * kLanes, panel_scratch_ + p * panel_floats_);
      body(panel, changes_[p]);
    }
  }

  // The same, of panels whose changes are to be listed.
  template <class Body>
  void list(const Body& body) {
    each_panel([&](RoundingPanel<V>& panel, BlockChanges& changes) {
      changes.count = 0;
      body(panel, changes);
    });
  }

  template <class Body>
  static void each_block(int64_t begin, int64_t end, const Body& body) {
    for (int64_t first = begin; first < end; first += kRoundingBlock) {
      body(first, end - first < kRoundingBlock ? end - first : kRoundingBlock);
    }
  }

  // Adds to values [begin, end) of `target` what the changes of each panel mean for them. pack(at,
  // count) puts the factors of values at ... into the tile, which has kRoundingTile of them.
  template <int64_t kOutStride, int64_t kInStride, class Pack>
  void spread(int64_t begin, int64_t end, Target target, const Pack& pack) {
    constexpr int kAbreast = V::kRows < 8 ? 4 : 8;
    for (int64_t at = begin; at < end; at += kRoundingTile) {
      const int64_t count = end - at < kRoundingTile ? end - at : kRoundingTile;
      pack(at, count);
      each_panel([&](RoundingPanel<V>& panel, BlockChanges& changes) {
        if (changes.count == 0) return;
        float* out = (panel.*target)() + at * kLanes;
        int64_t m = 0;
        for (; m + kAbreast <= count; m += kAbreast) {
          add_tile_products<V, kAbreast, kOutStride, kInStride>(tile_ + m * kOutStride, changes,
                                                                out + m * kLanes);
        }
        for (; m < count; ++m) {
          add_tile_products<V, 1, kOutStride, kInStride>(tile_ + m * kOutStride, changes,
                                                         out + m * kLanes);
        }
      });
    }
  }

  // By H, whose rows of the changed columns are row(place): it is symmetric.
  template <class Row>
  void spread_by_hessian(int64_t places, int64_t begin, int64_t end, Target target,
                         const Row& row) {
    spread<1, kRoundingTile>(begin, end, target, [&](int64_t at, int64_t count) {
      for (int64_t place = 0; place < places; ++place) {
        __builtin_memcpy(tile_ + place * kRoundingTile, a_.hessian + row(place) * a_.in + at,
                         static_cast<size_t>(count) * sizeof(float));
      }
    });
  }

  void round_with_feedback() {
    each_panel([](RoundingPanel<V>& panel, BlockChanges&) { panel.start_feedback(); });
    each_block(0, a_.in, [&](int64_t first, int64_t count) {
      list([&](RoundingPanel<V>& panel, BlockChanges& errors) {
        panel.round_block(first, count, errors);
      });
      const auto pack = [&](int64_t at, int64_t rows) {
        for (int64_t k = 0; k < rows; ++k) {
          __builtin_memcpy(tile_ + k * kRoundingBlock, a_.feedback + (at + k) * a_.in + first,
                           static_cast<size_t>(count) * sizeof(float));
        }
      };
      spread<kRoundingBlock, 1>(first + count, a_.in, &RoundingPanel<V>::residual, pack);
    });
  }

  // residual = E H
  void compute_residual() {
    each_panel([&](RoundingPanel<V>& panel, BlockChanges&) { clear(panel.residual(), a_.in); });
    each_block(0, a_.in, [&](int64_t first, int64_t count) {
      list([&](RoundingPanel<V>& panel, BlockChanges& errors) {
        panel.list_errors(first, count, errors);
      });
      spread_by_hessian(count, 0, a_.in, &RoundingPanel<V>::residual,
                        [&](int64_t place) { return first + place; });
    });
  }

  void refit_scales(int64_t group) {
    const int64_t begin = group * a_.group_columns;
    const int64_t end = begin + a_.group_columns;
    each_panel([&](RoundingPanel<V>& panel, BlockChanges&) {
      clear(panel.product() + begin * kLanes, a_.group_columns);
    });
    each_block(begin, end, [&](int64_t first, int64_t count) {
      list([&](RoundingPanel<V>& panel, BlockChanges& codes) {
        panel.list_codes(first, count, codes);
      });
      spread_by_hessian(count, begin, end, &RoundingPanel<V>::product,
                        [&](int64_t place) { return first + place; });
    });
    each_panel([&](RoundingPanel<V>& panel, BlockChanges&) { panel.refit_scale(group); });
    each_block(begin, end, [&](int64_t first, int64_t count) {
      list([&](RoundingPanel<V>& panel, BlockChanges& changes) {
        panel.list_step(group, first, count, changes);
      });
      spread_by_hessian(count, 0, a_.in, &RoundingPanel<V>::residual,
                        [&](int64_t place) { return first + place; });
    });
  }

  void move_integers(int64_t first, int64_t count) {
    const int32_t* order = a_.order + first;
    for (int64_t k = 0; k < count; ++k) {
      for (int64_t j = 0; j <= k; ++j) {
        block_[k * kRoundingBlock + j] = a_.hessian[order[k] * a_.in + order[j]];
      }
    }
    list([&](RoundingPanel<V>& panel, BlockChanges& changes) {
      panel.move_block(first, count, block_, changes);
    });
    spread_by_hessian(count, 0, a_.in, &RoundingPanel<V>::residual,
                      [&](int64_t place) { return int64_t{order[place]}; });
  }

  static void clear(float* values, int64_t columns) {
    __builtin_memset(values, 0, static_cast<size_t>(columns * kLanes) * sizeof(float));
  }

  const RoundingArgs& a_;
  int64_t panels_;
  int64_t panel_floats_;
  float* tile_;   // factors of a product
  float* block_;  // H of a block of columns
  float* panel_scratch_;
  BlockChanges changes_[kRoundingPanels];
};

template <class V>
void round_adaptively(const RoundingArgs& a) {
  RoundingRows<V>(a).run();
}

}  // namespace squint::cpu
