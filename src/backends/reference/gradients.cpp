// Gradients of the operators, by the chain rule as it stands in a textbook.
#include <cmath>
#include <limits>
#include <span>
#include <vector>

#include "backends/reference/reference_backend.h"

namespace squint::reference {

// y_i = x_i r w_i with r = 1 / sqrt(mean(x²) + eps):
// dx_i = r w_i dy_i - x_i r³ / n Σ_j x_j w_j dy_j
void ReferenceBackend::rms_norm_gradient(const Tensor& x, const Tensor& weight, float eps,
                                         const Tensor& d_out, const Tensor& d_x) {
  const int64_t n = weight.numel();
  const std::span<const float> w = weight.span<const float>();
  for (int64_t row = 0; row < x.numel() / n; ++row) {
    const float* in = x.span<const float>().data() + row * n;
    const float* dy = d_out.span<const float>().data() + row * n;
    float* dx = d_x.span<float>().data() + row * n;
    float squares = 0;
    float along = 0;
    for (int64_t i = 0; i < n; ++i) {
      squares += in[i] * in[i];
      along += in[i] * w[i] * dy[i];
    }
    const float r = 1.0f / std::sqrt(squares / static_cast<float>(n) + eps);
    const float common = along * r * r * r / static_cast<float>(n);
    for (int64_t i = 0; i < n; ++i) dx[i] = r * w[i] * dy[i] - in[i] * common;
  }
}

// y = silu(g) u, silu(g) = g s with s = 1 / (1 + exp(-g)):  silu'(g) = s (1 + g (1 - s))
void ReferenceBackend::swiglu_gradient(const Tensor& gate, const Tensor& up, const Tensor& d_out,
                                       const Tensor& d_gate, const Tensor& d_up) {
  for (int64_t i = 0; i < gate.numel(); ++i) {
    const float g = gate.span<const float>()[i];
    const float u = up.span<const float>()[i];
    const float dy = d_out.span<const float>()[i];
    const float s = 1.0f / (1.0f + std::exp(-g));
    d_gate.span<float>()[i] = dy * u * (s * (1.0f + g * (1.0f - s)));
    d_up.span<float>()[i] = dy * (g * s);
  }
}

// p = softmax(q·k scale), y = Σ_j p_j v_j:
//   dv_j += p_j dy,  dp_j = dy·v_j,  ds_j = p_j (dp_j - Σ p dp) scale,  dq = Σ ds_j k_j,
//   dk_j += ds_j q
void ReferenceBackend::attention_gradient(const AttentionGradientArgs& a) {
  const int64_t tokens = a.query.dim(0);
  const int64_t heads = a.query.dim(1);
  const int64_t kv_heads = a.key.dim(1);
  const int64_t d = a.query.dim(2);
  std::vector<float> p(static_cast<size_t>(tokens));
  std::vector<float> dp(static_cast<size_t>(tokens));
  for (const Tensor* out : {&a.d_query, &a.d_key, &a.d_value}) {
    for (float& x : out->span<float>()) x = 0;
  }
  for (int64_t h = 0; h < heads; ++h) {
    const auto at = [&](int64_t j) { return (j * kv_heads + h / (heads / kv_heads)) * d; };
    for (int64_t t = 0; t < tokens; ++t) {
      const float* q = a.query.span<const float>().data() + (t * heads + h) * d;
      const float* dy = a.d_out.span<const float>().data() + (t * heads + h) * d;
      float* dq = a.d_query.span<float>().data() + (t * heads + h) * d;
      float largest = -std::numeric_limits<float>::infinity();
      for (int64_t j = 0; j <= t; ++j) {
        p[j] = dp[j] = 0;
        for (int64_t i = 0; i < d; ++i) {
          p[j] += q[i] * a.key.span<const float>()[at(j) + i];
          dp[j] += dy[i] * a.value.span<const float>()[at(j) + i];
        }
        p[j] *= a.scale;
        largest = std::fmax(largest, p[j]);
      }
      float total = 0;
      for (int64_t j = 0; j <= t; ++j) total += p[j] = std::exp(p[j] - largest);
      float mean = 0;
      for (int64_t j = 0; j <= t; ++j) mean += (p[j] /= total) * dp[j];
      for (int64_t j = 0; j <= t; ++j) {
        const float ds = p[j] * (dp[j] - mean) * a.scale;
        for (int64_t i = 0; i < d; ++i) {
          dq[i] += ds * a.key.span<const float>()[at(j) + i];
          a.d_key.span<float>()[at(j) + i] += ds * q[i];
          a.d_value.span<float>()[at(j) + i] += p[j] * dy[i];
        }
      }
    }
  }
}

}  // namespace squint::reference
