// What the quantizer asks of sums over tokens, one value at a time.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "backends/reference/reference_backend.h"

namespace squint::reference {

void ReferenceBackend::clear(const Tensor& x) {
  std::memset(x.raw(), 0, static_cast<size_t>(x.bytes()));
}

void ReferenceBackend::combine(float a, const Tensor& x, float b, const Tensor& out) {
  for (int64_t i = 0; i < x.numel(); ++i) {
    out.span<float>()[i] = a * x.span<const float>()[i] + b * out.span<float>()[i];
  }
}

bool ReferenceBackend::finish_moment(const Tensor& m, double weight) {
  const int64_t n = m.dim(0);
  const std::span<float> h = m.span<float>();
  bool finite = true;
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = i; j < n; ++j) {
      h[i * n + j] = h[j * n + i] = static_cast<float>(h[i * n + j] / weight);
      finite = finite && std::isfinite(h[i * n + j]);
    }
  }
  return finite;
}

bool ReferenceBackend::divide_columns(const Tensor& m, double divisor, const Tensor& factors) {
  bool finite = true;
  for (int64_t i = 0; i < m.numel(); ++i) {
    const double factor = factors.empty() ? 1 : factors.span<const float>()[i % m.dim(1)];
    float& value = m.span<float>()[i];
    value = static_cast<float>(value / (divisor * factor));
    finite = finite && std::isfinite(value);
  }
  return finite;
}

void ReferenceBackend::diagonal(const Tensor& m, const Tensor& out) {
  const int64_t n = m.dim(0);
  for (int64_t i = 0; i < n; ++i) out.span<float>()[i] = m.span<const float>()[i * n + i];
}

void ReferenceBackend::add_to_diagonal(const Tensor& m, double relative, double absolute) {
  const int64_t n = m.dim(0);
  for (int64_t i = 0; i < n; ++i) {
    float& value = m.span<float>()[i * n + i];
    value = static_cast<float>(value + relative * value + absolute);
  }
}

void ReferenceBackend::reorder(const Tensor& m, std::span<const int32_t> order, const Tensor& out) {
  const int64_t n = m.dim(0);
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = i; j < n; ++j) {
      out.span<float>()[i * n + j] = m.span<const float>()[order[i] * n + order[j]];
    }
  }
}

// Rᵀ R = H reversed is H = U D Uᵀ with U and D read backwards from R: turned around, R is the lower
// triangle Uᵀ, whose rows times its diagonal.
void ReferenceBackend::make_feedback(const Tensor& factor) {
  const int64_t n = factor.dim(0);
  const std::span<float> values = factor.span<float>();
  std::ranges::reverse(values);
  for (int64_t k = 0; k < n; ++k) {
    const double diagonal = values[k * n + k];
    for (int64_t j = 0; j < n; ++j) {
      float& value = values[k * n + j];
      value = j < k ? static_cast<float>(value / diagonal) : 0;
    }
  }
}

void ReferenceBackend::scale_weight(const Tensor& weight, const Tensor& columns, const Tensor& rows,
                                    const Tensor& out) {
  const int64_t in = weight.dim(1);
  for (int64_t i = 0; i < weight.numel(); ++i) {
    float w = to_float(weight.span<const bf16>()[i]);
    if (!columns.empty()) w *= columns.span<const float>()[i % in];
    if (!rows.empty()) w /= rows.span<const float>()[i / in];
    if (out.dtype() == DType::f32) {
      out.span<float>()[i] = w;
    } else {
      out.span<bf16>()[i] = to_bf16(w);
    }
  }
}

}  // namespace squint::reference
