// rounding_kernel.h: rounding that looks at the whole row, for sixteen rows abreast: one lane each.
//
//     1. ranges    scale and zero point of each group, by error weighted with E[x²]
//     2. feedback  column after column, each taking over the errors made so far (GPTQ's rounding in
//                  the form of Chee et al., "QuIP", 2023, theorem 6)
//     3. descent   on tr(E H Eᵀ), E = w - ŵ: scales in closed form, then one integer after another
//
// A row's arithmetic does not depend on its neighbours, so neither threads nor batches change it.
#pragma once

#include "backends/cpu/row_kernels.h"

namespace squint::cpu {

// Ranges tried, in hundredths of three quarters: 1 - 0.0075 k of the largest weight.
inline constexpr int kWidestRange = -14;
inline constexpr int kNarrowestRange = 60;  // exclusive

template <class V>
class RoundingPanel {
 public:
  explicit RoundingPanel(const RoundingArgs& a)
      : a_(a),
        rows_(a.row_end - a.row_begin),
        groups_(a.in / a.group_columns),
        lowest_(V::set1(a.lowest)),
        highest_(V::set1(a.highest)),
        weight_(a.scratch),
        code_(weight_ + a.in * kLanes),
        residual_(code_ + a.in * kLanes),
        product_(residual_ + a.in * kLanes),
        scale_(product_ + a.in * kLanes),
        zero_(scale_ + groups_ * kLanes),
        first_scale_(zero_ + groups_ * kLanes) {
    for (int64_t row = 0; row < kLanes; ++row) {
      for (int64_t i = 0; i < a.in; ++i) {
        weight_[i * kLanes + row] = row < rows_ ? a.weight[(a.row_begin + row) * a.in + i] : 0.0f;
      }
    }
  }

  void run() {
    for (int64_t group = 0; group < groups_; ++group) find_range(group);
    if (a_.feedback != nullptr) {
      round_with_feedback();
    } else {
      round_alone();
    }
    for (int64_t i = 0; i < groups_ * kLanes; ++i) first_scale_[i] = scale_[i];
    for (int round = 0; round < a_.rounds; ++round) {
      compute_residual();
      for (int64_t group = 0; group < groups_; ++group) refit_scale(group);
      for (int64_t at = 0; at < a_.in; ++at) move_integer(a_.order[at]);
    }
    store();
  }

 private:
  static V at(const float* panel, int64_t i) { return V::load(panel + i * kLanes); }
  V scale_of(int64_t column) const { return at(scale_, column / a_.group_columns); }
  V zero_of(int64_t column) const { return at(zero_, column / a_.group_columns); }

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

  void round_alone() {
    for (int64_t i = 0; i < a_.in; ++i) {
      code_of(at(weight_, i) / scale_of(i), zero_of(i)).store(code_ + i * kLanes);
    }
  }

  void round_with_feedback() {
    float* errors = residual_;  // w - ŵ, by position in the order
    for (int64_t k = 0; k < a_.in; ++k) {
      const int64_t column = a_.order[k];
      const float* feedback = a_.feedback + k * a_.in;
      V sums[4] = {at(weight_, column), V::set1(0), V::set1(0), V::set1(0)};
      int64_t j = 0;
      for (; j + 4 <= k; j += 4) {
        for (int m = 0; m < 4; ++m) {
          sums[m] = V::fma(V::set1(feedback[j + m]), at(errors, j + m), sums[m]);
        }
      }
      for (; j < k; ++j) sums[0] = V::fma(V::set1(feedback[j]), at(errors, j), sums[0]);
      const V target = (sums[0] + sums[1]) + (sums[2] + sums[3]);
      const V scale = scale_of(column);
      const V code = code_of(target / scale, zero_of(column));
      code.store(code_ + column * kLanes);
      (at(weight_, column) - code * scale).store(errors + k * kLanes);
    }
  }

  // residual = E H
  void compute_residual() {
    for (int64_t i = 0; i < a_.in; ++i) {
      (at(weight_, i) - at(code_, i) * scale_of(i)).store(product_ + i * kLanes);
    }
    multiply_hessian(product_, 0, a_.in, residual_);
  }

  // out [in] = Σ over i in begin .. end of x_i H[i]; H is symmetric.
  void multiply_hessian(const float* x, int64_t begin, int64_t end, float* out) const {
    int64_t j = 0;
    for (; j + kAbreast <= a_.in; j += kAbreast) multiply_columns<kAbreast>(x, begin, end, j, out);
    for (; j < a_.in; ++j) multiply_columns<1>(x, begin, end, j, out);
  }

  template <int kColumns>
  void multiply_columns(const float* x, int64_t begin, int64_t end, int64_t j, float* out) const {
    V sums[kColumns];
    for (V& sum : sums) sum = V::set1(0);
    for (int64_t i = begin; i < end; ++i) {
      const float* h = a_.hessian + i * a_.in + j;
      const V value = at(x, i);
      for (int m = 0; m < kColumns; ++m) sums[m] = V::fma(V::set1(h[m]), value, sums[m]);
    }
    for (int m = 0; m < kColumns; ++m) sums[m].store(out + (j + m) * kLanes);
  }

  // With ŵ = c s, a step d of the scale changes the error by -2 d (R·c) + d² (c H cᵀ).
  void refit_scale(int64_t group) {
    const int64_t begin = group * a_.group_columns;
    const int64_t end = begin + a_.group_columns;
    multiply_hessian(code_, begin, end, product_);
    V slope = V::set1(0);
    V curve = V::set1(0);
    for (int64_t i = begin; i < end; ++i) {
      slope = V::fma(at(residual_, i), at(code_, i), slope);
      curve = V::fma(at(product_, i), at(code_, i), curve);
    }
    alignas(64) float b[kLanes];
    alignas(64) float c[kLanes];
    alignas(64) float step[kLanes];
    slope.store(b);
    curve.store(c);
    bool any = false;
    for (int j = 0; j < kLanes; ++j) {
      float& scale = scale_[group * kLanes + j];
      const float first = first_scale_[group * kLanes + j];
      step[j] = 0;
      if (!(c[j] > 0)) continue;
      const float wanted = round_one_to_bf16(scale + b[j] / c[j]);
      const float d = wanted - scale;
      if (!(wanted / first > 0.5f && wanted / first < 1.5f) || !(d * d * c[j] < 2 * d * b[j])) {
        continue;
      }
      step[j] = d;
      scale = wanted;
      any = true;
    }
    if (any) subtract(V::load(step));
  }

  // residual -= step ∘ product
  void subtract(const V& step) {
    for (int64_t i = 0; i < a_.in; ++i) {
      (at(residual_, i) - step * at(product_, i)).store(residual_ + i * kLanes);
    }
  }

  void move_integer(int64_t column) {
    const float* h = a_.hessian + column * a_.in;
    const V scale = scale_of(column);
    const V old = at(code_, column);
    const V best = old + at(residual_, column) / (V::set1(h[column]) * scale);
    const V code = code_of(best, zero_of(column));
    const V step = (code - old) * scale;
    if (max_lanes(step.abs()) == 0) return;
    code.store(code_ + column * kLanes);
    for (int64_t i = 0; i < a_.in; ++i) {
      (at(residual_, i) - step * V::set1(h[i])).store(residual_ + i * kLanes);
    }
  }

  void store() const {
    for (int64_t row = 0; row < rows_; ++row) {
      const int64_t to = a_.row_begin + row;
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

  static constexpr int kAbreast = V::kRows < 8 ? V::kRows : 8;

  const RoundingArgs& a_;
  int64_t rows_;
  int64_t groups_;
  V lowest_;
  V highest_;
  // Panels of sixteen rows: [in] or [groups] times 16 lanes.
  float* weight_;
  float* code_;  // integers with the zero point taken off
  float* residual_;
  float* product_;
  float* scale_;
  float* zero_;
  float* first_scale_;
};

template <class V>
void round_adaptively(const RoundingArgs& a) {
  RoundingPanel<V>(a).run();
}

}  // namespace squint::cpu
