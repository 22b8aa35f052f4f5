// Plain rounding and the MSE observer, one group and one value at a time (spec awq-w4a16.md §2).
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <span>
#include <vector>

#include "backends/reference/reference_backend.h"

namespace squint::reference {
namespace {

struct Range {
  float low;
  float high;
};

Range range_of(std::span<const bf16> group) {
  Range range{to_float(group[0]), to_float(group[0])};
  for (const bf16 w : group) {
    range.low = std::min(range.low, to_float(w));
    range.high = std::max(range.high, to_float(w));
  }
  return range;
}

float error_of(std::span<const bf16> group, const GroupParameters& p,
               const QuantizationScheme& scheme) {
  // Sixteen interleaved sums, added as a tree: the order is free (spec §0.1), and vectors like it.
  std::array<float, 16> sums{};
  for (size_t i = 0; i < group.size(); ++i) {
    const float w = to_float(group[i]);
    const float restored = dequantize_value(quantize_value(w, p, scheme), p);
    const float difference = round_to_bf16(restored - w);
    sums[i % 16] += round_to_bf16(std::pow(std::abs(difference), kMseNorm));
  }
  for (size_t width = 8; width > 0; width /= 2) {
    for (size_t i = 0; i < width; ++i) sums[i] += sums[i + width];
  }
  return round_to_bf16(sums[0]);
}

// Shrinks the ranges of all groups together: patience counts over the whole matrix.
void search_ranges(std::span<const bf16> weight, int64_t columns, const QuantizationScheme& scheme,
                   std::span<Range> ranges) {
  const std::vector<Range> whole(ranges.begin(), ranges.end());
  std::vector<float> best(ranges.size(), std::numeric_limits<float>::max());
  int stale = 0;
  for (int step = 0; step < kMseSteps && stale < kMsePatience; ++step) {
    const auto p = static_cast<float>(1.0 - static_cast<double>(step) / kMseGrid);
    bool improved = false;
    for (size_t g = 0; g < ranges.size(); ++g) {
      const Range tried{round_to_bf16(whole[g].low * p), round_to_bf16(whole[g].high * p)};
      const auto group =
          weight.subspan(g * static_cast<size_t>(columns), static_cast<size_t>(columns));
      const float error = error_of(group, group_parameters(tried.low, tried.high, scheme), scheme);
      if (error < best[g]) {
        best[g] = error;
        ranges[g] = tried;
        improved = true;
      }
    }
    stale = improved ? 0 : stale + 1;
  }
}

}  // namespace

void ReferenceBackend::quantize_weight(const Tensor& weight, const QuantizationScheme& scheme,
                                       Observer observer, const QuantizedWeight& out) {
  const auto columns = static_cast<size_t>(scheme.group_columns(weight.dim(1)));
  const std::span<const bf16> w = weight.span<const bf16>();
  std::vector<Range> ranges;
  for (size_t at = 0; at < w.size(); at += columns) {
    ranges.push_back(range_of(w.subspan(at, columns)));
  }
  if (observer == Observer::mse) {
    search_ranges(w, static_cast<int64_t>(columns), scheme, ranges);
  }
  for (size_t g = 0; g < ranges.size(); ++g) {
    const GroupParameters p = group_parameters(ranges[g].low, ranges[g].high, scheme);
    out.scales.span<bf16>()[g] = to_bf16(p.scale);
    out.zero_points.span<int8_t>()[g] = static_cast<int8_t>(p.zero);
    for (size_t i = g * columns; i < (g + 1) * columns; ++i) {
      out.codes.span<int8_t>()[i] = static_cast<int8_t>(quantize_value(to_float(w[i]), p, scheme));
    }
  }
}

void ReferenceBackend::quantization_error(const Tensor& weight, const Tensor& smooth,
                                          const QuantizationScheme& scheme, const Tensor& out) {
  const auto columns = static_cast<size_t>(scheme.group_columns(weight.dim(1)));
  const auto in = static_cast<size_t>(weight.dim(1));
  const std::span<const bf16> w = weight.span<const bf16>();
  const std::span<float> error = out.span<float>();
  const auto factor = [&](size_t i) {
    return smooth.empty() ? 1.0f : smooth.span<const float>()[i % in];
  };
  std::vector<bf16> scaled(columns);
  for (size_t at = 0; at < w.size(); at += columns) {
    for (size_t i = 0; i < columns; ++i) {
      scaled[i] = to_bf16(to_float(w[at + i]) * factor(at + i));
    }
    const Range range = range_of(scaled);
    const GroupParameters p = group_parameters(range.low, range.high, scheme);
    for (size_t i = 0; i < columns; ++i) {
      const float code = quantize_value(to_float(scaled[i]), p, scheme);
      error[at + i] = (code - p.zero) * p.scale / factor(at + i) - to_float(w[at + i]);
    }
  }
}

void ReferenceBackend::restored_error(const QuantizedWeight& q, const Tensor& columns,
                                      const Tensor& rows, const Tensor& weight, const Tensor& out) {
  const int64_t in = weight.dim(1);
  const int64_t group_columns = in / q.scales.dim(1);
  for (int64_t i = 0; i < weight.numel(); ++i) {
    const int64_t group = i / group_columns;
    const int code = q.codes.span<int8_t>()[i] - q.zero_points.span<int8_t>()[group];
    float w = static_cast<float>(code) * to_float(q.scales.span<bf16>()[group]);
    if (!columns.empty()) w /= columns.span<const float>()[i % in];
    if (!rows.empty()) w *= rows.span<const float>()[i / in];
    out.span<float>()[i] = w - to_float(weight.span<const bf16>()[i]);
  }
}

}  // namespace squint::reference
