// rounding_panel.h: sixteen rows of a weight while they are rounded, one lane each: what is done to
// them between the products of rounding_kernel.h.
#pragma once

#include "backends/cpu/quantize_kernel.h"  // round_one_to_bf16
#include "backends/cpu/row_kernels.h"

namespace squint::cpu {

// Ranges tried, in hundredths of three quarters: 1 - 0.0075 k of the largest weight.
inline constexpr int kWidestRange = -14;
inline constexpr int kNarrowestRange = 60;  // exclusive

// What columns of a block changed by, for the sums that see it: those of `count` columns, whose
// places in the block are `places`.
struct BlockChanges {
  float* values;  // [kRoundingBlock, 16]
  int64_t count;
  int32_t places[kRoundingBlock];
};

template <class V>
class RoundingPanel {
 public:
  // Rows from row_begin on, with rounding_panel_floats() of scratch.
  RoundingPanel(const RoundingArgs& a, int64_t row_begin, float* scratch)
      : a_(a),
        row_begin_(row_begin),
        rows_(a.row_end - row_begin < kLanes ? a.row_end - row_begin : kLanes),
        groups_(a.in / a.group_columns),
        lowest_(V::set1(a.lowest)),
        highest_(V::set1(a.highest)),
        weight_(scratch),
        code_(weight_ + a.in * kLanes),
        residual_(code_ + a.in * kLanes),
        product_(residual_ + a.in * kLanes),
        scale_(product_ + a.in * kLanes),
        zero_(scale_ + groups_ * kLanes),
        first_scale_(zero_ + groups_ * kLanes),
        step_(first_scale_ + groups_ * kLanes) {}

  float* residual() const { return residual_; }
  float* product() const { return product_; }

  void load() {
    for (int64_t row = 0; row < kLanes; ++row) {
      const float* from = a_.weight + (row_begin_ + row) * a_.in;
      for (int64_t i = 0; i < a_.in; ++i) {
        weight_[i * kLanes + row] = row < rows_ ? from[i] : 0.0f;
      }
    }
  }

  void find_ranges() {
    for (int64_t group = 0; group < groups_; ++group) find_range(group);
  }

  void round_alone() {
    for (int64_t i = 0; i < a_.in; ++i) {
      code_of(at(weight_, i) / scale_of(i), zero_of(i)).store(code_ + i * kLanes);
    }
  }

  // residual = w, in the order of rounding.
  void start_feedback() {
    for (int64_t k = 0; k < a_.in; ++k) at(weight_, a_.order[k]).store(residual_ + k * kLanes);
  }

  // Columns at places first ... of the order, one after the other, each taking over the errors made
  // so far within the block; residual holds what they are to become after the errors before it.
  void round_block(int64_t first, int64_t count, BlockChanges& errors) {
    for (int64_t k = 0; k < count; ++k) {
      const int64_t column = a_.order[first + k];
      const float* feedback = a_.feedback + (first + k) * a_.in + first;
      const V target = add_products(at(residual_, first + k), feedback, errors);
      const V scale = scale_of(column);
      const V code = code_of(target / scale, zero_of(column));
      code.store(code_ + column * kLanes);
      append(at(weight_, column) - code * scale, k, errors);
    }
  }

  void start_descent() {
    for (int64_t i = 0; i < groups_ * kLanes; ++i) first_scale_[i] = scale_[i];
  }

  // w - ŵ of columns first ...
  void list_errors(int64_t first, int64_t count, BlockChanges& errors) const {
    for (int64_t k = 0; k < count; ++k) {
      const int64_t i = first + k;
      append(at(weight_, i) - at(code_, i) * scale_of(i), k, errors);
    }
  }

  void list_codes(int64_t first, int64_t count, BlockChanges& codes) const {
    for (int64_t k = 0; k < count; ++k) append(at(code_, first + k), k, codes);
  }

  // With ŵ = c s, a step d of the scale changes the error by -2 d (R·c) + d² (c H cᵀ). product
  // holds c H, of the group's columns.
  void refit_scale(int64_t group) {
    const int64_t begin = group * a_.group_columns;
    V slope = V::set1(0);
    V curve = V::set1(0);
    for (int64_t i = begin; i < begin + a_.group_columns; ++i) {
      slope = V::fma(at(residual_, i), at(code_, i), slope);
      curve = V::fma(at(product_, i), at(code_, i), curve);
    }
    alignas(64) float b[kLanes];
    alignas(64) float c[kLanes];
    slope.store(b);
    curve.store(c);
    for (int j = 0; j < kLanes; ++j) {
      float& scale = scale_[group * kLanes + j];
      const float first = first_scale_[group * kLanes + j];
      step_[group * kLanes + j] = 0;
      if (!(c[j] > 0)) continue;
      const float wanted = round_one_to_bf16(scale + b[j] / c[j]);
      const float d = wanted - scale;
      if (!(wanted / first > 0.5f && wanted / first < 1.5f) || !(d * d * c[j] < 2 * d * b[j])) {
        continue;
      }
      step_[group * kLanes + j] = d;
      scale = wanted;
    }
  }

  // What the last step of a group's scale took from the errors of its columns first ...
  void list_step(int64_t group, int64_t first, int64_t count, BlockChanges& changes) const {
    const V step = at(step_, group);
    if (max_lanes(step.abs()) == 0) return;
    for (int64_t k = 0; k < count; ++k) {
      append(V::set1(0) - step * at(code_, first + k), k, changes);
    }
  }

  // Integers at places first ... of the order, one after the other. hessian [count,
  // kRoundingBlock]: of these columns.
  void move_block(int64_t first, int64_t count, const float* hessian, BlockChanges& changes) {
    for (int64_t k = 0; k < count; ++k) {
      const int64_t column = a_.order[first + k];
      const float* h = hessian + k * kRoundingBlock;
      const V residual = add_products(at(residual_, column), h, changes);
      const V scale = scale_of(column);
      const V old = at(code_, column);
      const V code = code_of(old + residual / (V::set1(h[k]) * scale), zero_of(column));
      const V change = (old - code) * scale;
      if (max_lanes(change.abs()) == 0) continue;
      code.store(code_ + column * kLanes);
      append(change, k, changes);
    }
  }

  void store() const {
    for (int64_t row = 0; row < rows_; ++row) {
      const int64_t to = row_begin_ + row;
      for (int64_t group = 0; group < groups_; ++group) {
        uint32_t bits = 0;
        __builtin_memcpy(&bits, &scale_[group * kLanes + row], sizeof bits);
        a_.scales[to * groups_ + group] = static_cast<uint16_t>(bits >> 16);
        a_.zeros[to * groups_ + group] = static_cast<int8_t>(zero_[group * kLanes + row]);
      }
      for (int64_t i = 0; i < a_.in; ++i) {
        const float zero = zero_[i / a_.group_columns * kLanes + row];
        a_.codes[to * a_.in + i] = static_cast<int8_t>(code_[i * kLanes + row] + zero);
      }
    }
  }

 private:
  static V at(const float* panel, int64_t i) { return V::load(panel + i * kLanes); }
  V scale_of(int64_t column) const { return at(scale_, column / a_.group_columns); }
  V zero_of(int64_t column) const { return at(zero_, column / a_.group_columns); }

  static void append(const V& value, int64_t place, BlockChanges& changes) {
    value.store(changes.values + changes.count * kLanes);
    changes.places[changes.count++] = static_cast<int32_t>(place);
  }

  // start + Σ factors[place] value over the changes so far.
  static V add_products(const V& start, const float* factors, const BlockChanges& changes) {
    V sums[4] = {start, V::set1(0), V::set1(0), V::set1(0)};
    int64_t i = 0;
    for (; i + 4 <= changes.count; i += 4) {
      for (int m = 0; m < 4; ++m) {
        sums[m] =
            V::fma(V::set1(factors[changes.places[i + m]]), at(changes.values, i + m), sums[m]);
      }
    }
    for (; i < changes.count; ++i) {
      sums[0] = V::fma(V::set1(factors[changes.places[i]]), at(changes.values, i), sums[0]);
    }
    return (sums[0] + sums[1]) + (sums[2] + sums[3]);
  }

  // The nearest integer to w, with the zero point taken off: what the scale is multiplied with.
  V code_of(const V& w_over_scale, const V& zero) const {
    return V::min(V::max((w_over_scale + zero).rint(), lowest_), highest_) - zero;
  }

  void find_range(int64_t group) {
    const int64_t begin = group * a_.group_columns;
    V low = V::set1(0);
    V high = V::set1(0);
    for (int64_t i = begin; i < begin + a_.group_columns; ++i) {
      low = V::min(low, at(weight_, i));
      high = V::max(high, at(weight_, i));
    }
    alignas(64) float lows[kLanes];
    alignas(64) float highs[kLanes];
    alignas(64) float least[kLanes];
    low.store(lows);
    high.store(highs);
    for (float& e : least) e = 3.4e38f;
    alignas(64) float sign[kLanes];
    choose_signs(begin, lows, highs, sign);
    const int first = a_.search ? kWidestRange : 0;
    const int end = a_.search ? kNarrowestRange : 1;
    for (int k = first; k < end; ++k) {
      const float p = 1 - 0.0075f * static_cast<float>(k);
      alignas(64) float scale[kLanes];
      alignas(64) float zero[kLanes];
      for (int j = 0; j < kLanes; ++j) {
        parameters(lows[j] * p, highs[j] * p, scale[j], zero[j]);
        scale[j] *= sign[j];
      }
      alignas(64) float error[kLanes];
      error_with(begin, V::load(scale), V::load(zero)).store(error);
      for (int j = 0; j < kLanes; ++j) {
        if (!(error[j] < least[j]) && k > first) continue;
        least[j] = error[j];
        scale_[group * kLanes + j] = scale[j];
        zero_[group * kLanes + j] = zero[j];
      }
    }
  }

  // The scale's better sign, where the end that reaches further is exactly the lowest integer.
  void choose_signs(int64_t begin, const float* lows, const float* highs, float* sign) const {
    for (int j = 0; j < kLanes; ++j) sign[j] = 1;
    if (!a_.signed_scales) return;
    const float p = static_cast<float>(a_.highest - a_.lowest) / (-2 * a_.lowest);
    alignas(64) float scale[kLanes];
    alignas(64) float zero[kLanes];
    alignas(64) float error[2][kLanes];
    for (int j = 0; j < kLanes; ++j) parameters(lows[j] * p, highs[j] * p, scale[j], zero[j]);
    error_with(begin, V::load(scale), V::load(zero)).store(error[0]);
    for (float& s : scale) s = -s;
    error_with(begin, V::load(scale), V::load(zero)).store(error[1]);
    for (int j = 0; j < kLanes; ++j) sign[j] = error[1][j] < error[0][j] ? -1.0f : 1.0f;
  }

  void parameters(float low, float high, float& scale, float& zero) const {
    zero = 0;
    if (a_.symmetric) {
      scale = round_one_to_bf16((-low > high ? -low : high) / ((a_.highest - a_.lowest) / 2));
    } else {
      scale = round_one_to_bf16((high - low) / (a_.highest - a_.lowest));
    }
    // A group of zeros: any scale will do.
    if (scale == 0) scale = 0.0078125f;
    if (!a_.symmetric) {
      zero = __builtin_rintf(a_.lowest - low / scale);
      zero = zero < a_.lowest ? a_.lowest : zero > a_.highest ? a_.highest : zero;
    }
  }

  V error_with(int64_t begin, const V& scale, const V& zero) const {
    const V inverse = V::set1(1) / scale;
    V sum = V::set1(0);
    for (int64_t i = begin; i < begin + a_.group_columns; ++i) {
      const V w = at(weight_, i);
      const V e = w - code_of(w * inverse, zero) * scale;
      sum = V::fma(e * e, V::set1(a_.importance[i]), sum);
    }
    return sum;
  }

  const RoundingArgs& a_;
  int64_t row_begin_;
  int64_t rows_;
  int64_t groups_;
  V lowest_;
  V highest_;
  // [in] or [groups] times 16 lanes.
  float* weight_;
  float* code_;  // integers with the zero point taken off
  float* residual_;
  float* product_;
  float* scale_;
  float* zero_;
  float* first_scale_;
  float* step_;  // of a scale, the last
};

}  // namespace squint::cpu
