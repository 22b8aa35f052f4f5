// What the quantizer asks of weights and of sums over tokens: loops over rows, on all threads.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>

#include "backends/cpu/cpu_backend.h"
#include "base/checked_math.h"

namespace squint::cpu {
namespace {

constexpr int64_t kTile = 64;         // of a square that is mirrored
constexpr int64_t kRows = 4;          // at a time
constexpr int64_t kValues = 1 << 14;  // at a time

}  // namespace

void CpuBackend::clear(const Tensor& x) {
  pool_.parallel_for(x.bytes(), kValues * 4, [&](int64_t begin, int64_t end, int) {
    std::memset(x.raw() + begin, 0, static_cast<size_t>(end - begin));
  });
}

void CpuBackend::combine(float a, const Tensor& x, float b, const Tensor& out) {
  const std::span<const float> from = x.span<const float>();
  const std::span<float> to = out.span<float>();
  pool_.parallel_for(x.numel(), kValues, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) to[i] = a * from[i] + b * to[i];
  });
}

bool CpuBackend::finish_moment(const Tensor& m, double weight) {
  const int64_t n = m.dim(0);
  const std::span<float> h = m.span<float>();
  std::atomic<bool> finite = true;
  const auto mirror = [&](int64_t first, int64_t last) {
    for (int64_t column = first; column < n; column += kTile) {
      for (int64_t j = column; j < std::min(n, column + kTile); ++j) {
        for (int64_t i = first; i < std::min(last, j); ++i) h[j * n + i] = h[i * n + j];
      }
    }
  };
  pool_.parallel_for(ceil_div(n, kTile), 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t first = begin * kTile; first < std::min(n, end * kTile); first += kTile) {
      const int64_t last = std::min(n, first + kTile);
      for (int64_t i = first; i < last; ++i) {
        for (int64_t j = i; j < n; ++j) {
          h[i * n + j] = static_cast<float>(h[i * n + j] / weight);
          if (!std::isfinite(h[i * n + j])) finite = false;
        }
      }
      mirror(first, last);
    }
  });
  return finite;
}

bool CpuBackend::divide_columns(const Tensor& m, double divisor, const Tensor& factors) {
  std::atomic<bool> finite = true;
  pool_.parallel_for(m.dim(0), kRows, [&](int64_t begin, int64_t end, int) {
    const std::span<float> values = m.rows(begin, end - begin).span<float>();
    const auto n = static_cast<size_t>(m.dim(1));
    for (size_t i = 0; i < values.size(); ++i) {
      const double factor = factors.empty() ? 1 : factors.span<const float>()[i % n];
      values[i] = static_cast<float>(values[i] / (divisor * factor));
      if (!std::isfinite(values[i])) finite = false;
    }
  });
  return finite;
}

void CpuBackend::diagonal(const Tensor& m, const Tensor& out) {
  const int64_t n = m.dim(0);
  for (int64_t i = 0; i < n; ++i) out.span<float>()[i] = m.span<const float>()[i * n + i];
}

void CpuBackend::add_to_diagonal(const Tensor& m, double relative, double absolute) {
  const int64_t n = m.dim(0);
  for (int64_t i = 0; i < n; ++i) {
    float& value = m.span<float>()[i * n + i];
    value = static_cast<float>(value + relative * value + absolute);
  }
}

void CpuBackend::reorder(const Tensor& m, std::span<const int32_t> order, const Tensor& out) {
  const int64_t n = m.dim(0);
  pool_.parallel_for(n, kRows, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) {
      const float* from = m.span<const float>().data() + order[i] * n;
      float* to = out.span<float>().data() + i * n;
      for (int64_t j = i; j < n; ++j) to[j] = from[order[j]];
    }
  });
}

// See the reference's.
void CpuBackend::make_feedback(const Tensor& factor) {
  const int64_t n = factor.dim(0);
  const std::span<float> values = factor.span<float>();
  const int64_t half = values.size() / 2;
  pool_.parallel_for(half, kValues, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) std::swap(values[i], values[n * n - 1 - i]);
  });
  pool_.parallel_for(n, kRows, [&](int64_t begin, int64_t end, int) {
    for (int64_t k = begin; k < end; ++k) {
      const double diagonal = values[k * n + k];
      for (int64_t j = 0; j < n; ++j) {
        float& value = values[k * n + j];
        value = j < k ? static_cast<float>(value / diagonal) : 0;
      }
    }
  });
}

void CpuBackend::scale_weight(const Tensor& weight, const Tensor& columns, const Tensor& rows,
                              const Tensor& out) {
  const int64_t in = weight.dim(1);
  const float* factors = columns.empty() ? nullptr : columns.span<const float>().data();
  const auto fill = [&](auto to, const auto& round) {
    pool_.parallel_for(weight.dim(0), kRows, [&](int64_t begin, int64_t end, int) {
      for (int64_t row = begin; row < end; ++row) {
        const bf16* from = weight.span<const bf16>().data() + row * in;
        for (int64_t i = 0; i < in; ++i) {
          float w = to_float(from[i]);
          if (factors != nullptr) w *= factors[i];
          if (!rows.empty()) w /= rows.span<const float>()[static_cast<size_t>(row)];
          to[row * in + i] = round(w);
        }
      }
    });
  };
  if (out.dtype() == DType::f32) {
    fill(out.span<float>(), [](float w) { return w; });
  } else {
    fill(out.span<bf16>(), [](float w) { return to_bf16(w); });
  }
}

void CpuBackend::restored_error(const QuantizedWeight& q, const Tensor& columns, const Tensor& rows,
                                const Tensor& weight, const Tensor& out) {
  const int64_t in = weight.dim(1);
  const int64_t groups = q.scales.dim(1);
  const int64_t group_columns = in / groups;
  const float* column_factors = columns.empty() ? nullptr : columns.span<const float>().data();
  const auto group_of_row = [&](int64_t row, int64_t group, float row_factor) {
    const auto at = static_cast<size_t>(row * groups + group);
    const int zero = q.zero_points.span<int8_t>()[at];
    const float scale = to_float(q.scales.span<bf16>()[at]);
    const int64_t first = row * in + group * group_columns;
    const int8_t* codes = q.codes.span<int8_t>().data() + first;
    const bf16* stored = weight.span<const bf16>().data() + first;
    float* error = out.span<float>().data() + first;
    for (int64_t i = 0; i < group_columns; ++i) {
      float w = static_cast<float>(codes[i] - zero) * scale;
      if (column_factors != nullptr) w /= column_factors[group * group_columns + i];
      error[i] = w * row_factor - to_float(stored[i]);
    }
  };
  pool_.parallel_for(weight.dim(0), kRows, [&](int64_t begin, int64_t end, int) {
    for (int64_t row = begin; row < end; ++row) {
      const float factor = rows.empty() ? 1 : rows.span<const float>()[static_cast<size_t>(row)];
      for (int64_t group = 0; group < groups; ++group) group_of_row(row, group, factor);
    }
  });
}

}  // namespace squint::cpu
