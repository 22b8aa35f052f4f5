// Rounding that looks at the whole row, one row and one value at a time: ranges by weighted error,
// GPTQ's feedback, descent on tr(E H Eᵀ). backends/cpu/rounding_kernel.h says where it comes from.
#include <algorithm>
#include <cmath>
#include <limits>
#include <span>
#include <vector>

#include "backends/reference/reference_backend.h"

namespace squint::reference {
namespace {

// Ranges tried: 1 - 0.0075 k of the largest weight, k from kWidest to kNarrowest - 1.
constexpr int kWidest = -14;
constexpr int kNarrowest = 60;

class Row {
 public:
  Row(std::span<const float> weight, const AdaptiveRounding& how, const QuantizationScheme& scheme)
      : weight_(weight),
        how_(how),
        scheme_(scheme),
        columns_(static_cast<size_t>(scheme.group_columns(static_cast<int64_t>(weight.size())))),
        codes_(weight.size()) {}

  void run() {
    for (size_t begin = 0; begin < weight_.size(); begin += columns_) {
      groups_.push_back(best_group(begin));
    }
    if (how_.feedback.empty()) {
      for (size_t i = 0; i < weight_.size(); ++i) codes_[i] = code_of(weight_[i], group_of(i));
      return;
    }
    round_with_feedback();
    const std::vector<GroupParameters> first = groups_;
    for (int round = 0; round < how_.rounds; ++round) {
      for (size_t g = 0; g < groups_.size(); ++g) refit_scale(g, first[g].scale);
      for (const int32_t column : how_.order) move_integer(static_cast<size_t>(column));
    }
  }

  const std::vector<float>& codes() const { return codes_; }  // without the zero point
  const std::vector<GroupParameters>& groups() const { return groups_; }

 private:
  const GroupParameters& group_of(size_t column) const { return groups_[column / columns_]; }

  // The nearest integer, its zero point taken off.
  float code_of(float w, const GroupParameters& group) const {
    return std::clamp(std::nearbyint(w / group.scale + group.zero),
                      static_cast<float>(scheme_.lowest()), static_cast<float>(scheme_.highest())) -
           group.zero;
  }

  GroupParameters parameters(float low, float high) const {
    const auto steps = static_cast<float>(scheme_.highest() - scheme_.lowest());
    GroupParameters group;
    group.scale = scheme_.symmetric ? round_to_bf16(std::max(-low, high) / (steps / 2))
                                    : round_to_bf16((high - low) / steps);
    if (group.scale == 0) group.scale = 0.0078125f;
    if (!scheme_.symmetric) {
      const auto lowest = static_cast<float>(scheme_.lowest());
      group.zero = std::clamp(std::nearbyint(lowest - low / group.scale), lowest,
                              static_cast<float>(scheme_.highest()));
    }
    return group;
  }

  // Σ importance (w - ŵ)²
  float group_error(size_t begin, const GroupParameters& group) const {
    float error = 0;
    for (size_t i = begin; i < begin + columns_; ++i) {
      const float e = weight_[i] - code_of(weight_[i], group) * group.scale;
      error += e * e * how_.importance.span<const float>()[i];
    }
    return error;
  }

  // Of the scale, where the end that reaches further is exactly the lowest integer.
  float better_sign(size_t begin, float low, float high) const {
    if (!scheme_.symmetric || !scheme_.signed_scales) return 1;
    const float p = static_cast<float>(scheme_.highest() - scheme_.lowest()) /
                    static_cast<float>(-2 * scheme_.lowest());
    GroupParameters group = parameters(low * p, high * p);
    const float positive = group_error(begin, group);
    group.scale = -group.scale;
    return group_error(begin, group) < positive ? -1.0f : 1.0f;
  }

  GroupParameters best_group(size_t begin) const {
    const std::span<const float> w = weight_.subspan(begin, columns_);
    const float low = std::min(0.0f, std::ranges::min(w));
    const float high = std::max(0.0f, std::ranges::max(w));
    const float sign = better_sign(begin, low, high);
    const auto with = [&](float p) {
      GroupParameters group = parameters(low * p, high * p);
      group.scale *= sign;
      return group;
    };
    if (!how_.search) return with(1);
    GroupParameters best;
    float least = std::numeric_limits<float>::max();
    for (int k = kWidest; k < kNarrowest; ++k) {
      const GroupParameters tried = with(1 - 0.0075f * static_cast<float>(k));
      const float error = group_error(begin, tried);
      if (error < least || k == kWidest) {
        least = error;
        best = tried;
      }
    }
    return best;
  }

  float error(size_t column) const {
    return weight_[column] - codes_[column] * group_of(column).scale;
  }

  void round_with_feedback() {
    const std::span<const float> feedback = how_.feedback.span<const float>();
    std::vector<float> errors;
    for (size_t k = 0; k < weight_.size(); ++k) {
      const auto column = static_cast<size_t>(how_.order[k]);
      float target = weight_[column];
      for (size_t j = 0; j < k; ++j) target += feedback[k * weight_.size() + j] * errors[j];
      codes_[column] = code_of(target, group_of(column));
      errors.push_back(error(column));
    }
  }

  float hessian(size_t i, size_t j) const {
    return how_.hessian.span<const float>()[i * weight_.size() + j];
  }

  // (E H)[column]
  float residual(size_t column) const {
    float sum = 0;
    for (size_t i = 0; i < weight_.size(); ++i) sum += error(i) * hessian(i, column);
    return sum;
  }

  void refit_scale(size_t g, float first) {
    float slope = 0;
    float curve = 0;
    for (size_t i = g * columns_; i < (g + 1) * columns_; ++i) {
      slope += residual(i) * codes_[i];
      for (size_t j = g * columns_; j < (g + 1) * columns_; ++j) {
        curve += codes_[i] * hessian(i, j) * codes_[j];
      }
    }
    if (!(curve > 0)) return;
    float& scale = groups_[g].scale;
    const float wanted = round_to_bf16(scale + slope / curve);
    const float step = wanted - scale;
    const bool near = wanted / first > 0.5f && wanted / first < 1.5f;
    if (near && step * step * curve < 2 * step * slope) scale = wanted;
  }

  void move_integer(size_t column) {
    const GroupParameters& group = group_of(column);
    const float step = residual(column) / hessian(column, column);
    codes_[column] = code_of(codes_[column] * group.scale + step, group);
  }

  std::span<const float> weight_;
  const AdaptiveRounding& how_;
  const QuantizationScheme& scheme_;
  size_t columns_;
  std::vector<float> codes_;
  std::vector<GroupParameters> groups_;
};

}  // namespace

void ReferenceBackend::round_adaptively(const Tensor& weight, const AdaptiveRounding& how,
                                        const QuantizationScheme& scheme,
                                        const QuantizedWeight& out) {
  const auto in = static_cast<size_t>(weight.dim(1));
  pool_.parallel_for(weight.dim(0), 1, [&](int64_t begin, int64_t end, int) {
    for (auto r = static_cast<size_t>(begin); r < static_cast<size_t>(end); ++r) {
      Row row(weight.span<const float>().subspan(r * in, in), how, scheme);
      row.run();
      const size_t groups = row.groups().size();
      for (size_t g = 0; g < groups; ++g) {
        out.scales.span<bf16>()[r * groups + g] = to_bf16(row.groups()[g].scale);
        out.zero_points.span<int8_t>()[r * groups + g] = static_cast<int8_t>(row.groups()[g].zero);
      }
      for (size_t i = 0; i < in; ++i) {
        out.codes.span<int8_t>()[r * in + i] =
            static_cast<int8_t>(row.codes()[i] + row.groups()[i / (in / groups)].zero);
      }
    }
  });
}

}  // namespace squint::reference
