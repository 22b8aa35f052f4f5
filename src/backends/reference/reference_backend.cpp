#include "backends/reference/reference_backend.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <span>
#include <vector>

#include "base/check.h"
#include "core/packed_int.h"

namespace squint::reference {
namespace {

// ŵ[r, k] = (code - zero) * scale
std::vector<float> dequantize(const PackedLinear& packed) {
  const QuantizedWeight w = unpack_linear(packed);
  const auto columns = static_cast<size_t>(packed.group_size);
  std::vector<float> values(static_cast<size_t>(packed.rows * packed.cols));
  for (size_t i = 0; i < values.size(); ++i) {
    const int code = w.codes.span<int8_t>()[i] - w.zero_points.span<int8_t>()[i / columns];
    values[i] = static_cast<float>(code) * to_float(w.scales.span<bf16>()[i / columns]);
  }
  return values;
}

// The rows of a linear weight as float32, [out, in].
std::vector<float> dense(const LinearWeight& weight) {
  if (const auto* packed = std::get_if<PackedLinear>(&weight.weight)) return dequantize(*packed);
  const Tensor as_float = to_f32(std::get<Tensor>(weight.weight));
  const std::span<const float> values = as_float.span<const float>();
  return {values.begin(), values.end()};
}

}  // namespace

void ReferenceBackend::copy(const Tensor& from, const Tensor& to) {
  SQUINT_CHECK(from.bytes() == to.bytes());
  std::memmove(to.raw(), from.raw(), static_cast<size_t>(from.bytes()));
}

int64_t ReferenceBackend::kv_bytes(int64_t heads, int64_t head_dim, int64_t capacity) const {
  return 2 * heads * head_dim * capacity * byte_size(DType::f32);
}

// keys, values [capacity, heads, head_dim]
KvLayer ReferenceBackend::make_kv(std::shared_ptr<Storage> storage, int64_t heads, int64_t head_dim,
                                  int64_t capacity) {
  const Tensor both(std::move(storage), 0, DType::f32, {2, capacity, heads, head_dim});
  return {.keys = both.rows(0, 1),
          .values = both.rows(1, 1),
          .heads = heads,
          .head_dim = head_dim,
          .capacity = capacity};
}

// y[t, r] = Σ_k x[t, k] W[r, k] + b[r]
void ReferenceBackend::linear(const Tensor& x, const LinearWeight& weight, const Tensor& out) {
  const std::vector<float> w = dense(weight);
  const std::span<const float> xs = x.span<const float>();
  const std::span<float> ys = out.span<float>();
  const int64_t in = weight.in_features;
  const int64_t rows = weight.out_features;
  for (int64_t t = 0; t < x.dim(0); ++t) {
    for (int64_t r = 0; r < rows; ++r) {
      float sum = 0;
      for (int64_t k = 0; k < in; ++k) sum += xs[t * in + k] * w[r * in + k];
      if (!weight.bias.empty()) sum += weight.bias.span<const float>()[r];
      ys[t * rows + r] = sum;
    }
  }
}

// y = x / sqrt(mean(x²) + eps) * w
void ReferenceBackend::rms_norm(const Tensor& x, const Tensor& weight, float eps,
                                const Tensor& out) {
  const int64_t n = weight.numel();
  const std::span<const float> w = weight.span<const float>();
  for (int64_t row = 0; row < x.numel() / n; ++row) {
    const float* in = x.span<const float>().data() + row * n;
    float* to = out.span<float>().data() + row * n;
    float sum = 0;
    for (int64_t i = 0; i < n; ++i) sum += in[i] * in[i];
    const float inverse = 1.0f / std::sqrt(sum / static_cast<float>(n) + eps);
    for (int64_t i = 0; i < n; ++i) to[i] = in[i] * inverse * w[i];
  }
}

// y = (x - mean) / sqrt(var + eps) * w + b
void ReferenceBackend::layer_norm(const Tensor& x, const Tensor& weight, const Tensor& bias,
                                  float eps, const Tensor& out) {
  const int64_t n = weight.numel();
  const std::span<const float> w = weight.span<const float>();
  const std::span<const float> b = bias.span<const float>();
  for (int64_t row = 0; row < x.numel() / n; ++row) {
    const float* in = x.span<const float>().data() + row * n;
    float* to = out.span<float>().data() + row * n;
    float sum = 0;
    for (int64_t i = 0; i < n; ++i) sum += in[i];
    const float mean = sum / static_cast<float>(n);
    float squares = 0;
    for (int64_t i = 0; i < n; ++i) squares += (in[i] - mean) * (in[i] - mean);
    const float inverse = 1.0f / std::sqrt(squares / static_cast<float>(n) + eps);
    for (int64_t i = 0; i < n; ++i) to[i] = (in[i] - mean) * inverse * w[i] + b[i];
  }
}

void ReferenceBackend::rotate(const Tensor& cosine, const Tensor& sine, const Tensor& x) {
  const int64_t tokens = x.dim(0);
  const int64_t heads = x.dim(1);
  const int64_t half = x.dim(2) / 2;
  for (int64_t t = 0; t < tokens; ++t) {
    const float* c = cosine.span<const float>().data() + t * half;
    const float* s = sine.span<const float>().data() + t * half;
    for (int64_t h = 0; h < heads; ++h) {
      float* a = x.span<float>().data() + (t * heads + h) * 2 * half;
      float* b = a + half;
      for (int64_t i = 0; i < half; ++i) {
        const float first = a[i];
        a[i] = first * c[i] - b[i] * s[i];
        b[i] = b[i] * c[i] + first * s[i];
      }
    }
  }
}

void ReferenceBackend::append_kv(const Tensor& keys, const Tensor& values, KvLayer& kv) {
  const auto at = static_cast<size_t>(kv.length * kv.heads * kv.head_dim);
  std::ranges::copy(keys.span<const float>(), kv.keys.span<float>().subspan(at).begin());
  std::ranges::copy(values.span<const float>(), kv.values.span<float>().subspan(at).begin());
  kv.length += keys.dim(0);
}

// p[j] = softmax_j(q · k[j] * scale),  y = Σ_j p[j] v[j]
void ReferenceBackend::attention(const AttentionArgs& args, const Tensor& out) {
  const KvLayer& kv = *args.kv;
  const int64_t tokens = args.query.dim(0);
  const int64_t heads = args.query.dim(1);
  const int64_t d = kv.head_dim;
  std::vector<float> p(static_cast<size_t>(kv.length));
  for (int64_t t = 0; t < tokens; ++t) {
    const int64_t visible = args.causal ? args.first_position + t + 1 : kv.length;
    for (int64_t h = 0; h < heads; ++h) {
      const int64_t kv_head = h / (heads / kv.heads);
      const float* q = args.query.span<const float>().data() + (t * heads + h) * d;
      const float* k = kv.keys.span<const float>().data() + kv_head * d;
      const float* v = kv.values.span<const float>().data() + kv_head * d;
      float* y = out.span<float>().data() + (t * heads + h) * d;
      const int64_t stride = kv.heads * d;
      float largest = -std::numeric_limits<float>::infinity();
      for (int64_t j = 0; j < visible; ++j) {
        float sum = 0;
        for (int64_t i = 0; i < d; ++i) sum += q[i] * k[j * stride + i];
        p[j] = sum * args.scale;
        largest = std::max(largest, p[j]);
      }
      float total = 0;
      for (int64_t j = 0; j < visible; ++j) total += p[j] = std::exp(p[j] - largest);
      std::fill(y, y + d, 0.0f);
      for (int64_t j = 0; j < visible; ++j) {
        for (int64_t i = 0; i < d; ++i) y[i] += p[j] / total * v[j * stride + i];
      }
    }
  }
}

// silu(g) u,  silu(g) = g / (1 + exp(-g))
void ReferenceBackend::swiglu(const Tensor& gate, const Tensor& up, const Tensor& out) {
  const std::span<const float> g = gate.span<const float>();
  const std::span<const float> u = up.span<const float>();
  const std::span<float> y = out.span<float>();
  for (size_t i = 0; i < y.size(); ++i) y[i] = g[i] / (1.0f + std::exp(-g[i])) * u[i];
}

void ReferenceBackend::gelu(const Tensor& x, GeluKind kind, const Tensor& out) {
  const std::span<const float> from = x.span<const float>();
  const std::span<float> to = out.span<float>();
  for (size_t i = 0; i < to.size(); ++i) {
    const float v = from[i];
    if (kind == GeluKind::erf) {
      to[i] = 0.5f * v * (1.0f + std::erf(v * 0.70710678118654752f));
    } else {
      constexpr float kSqrt2OverPi = 0.79788456080286536f;
      to[i] = 0.5f * v * (1.0f + std::tanh(kSqrt2OverPi * (v + 0.044715f * v * v * v)));
    }
  }
}

void ReferenceBackend::add(const Tensor& x, const Tensor& out) {
  const std::span<const float> from = x.span<const float>();
  const std::span<float> to = out.span<float>();
  for (size_t i = 0; i < to.size(); ++i) to[i] += from[i];
}

void ReferenceBackend::add_second_moment(const Tensor& x, const Tensor& out) {
  const int64_t n = x.dim(1);
  const std::span<const float> xs = x.span<const float>();
  const std::span<float> h = out.span<float>();
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = i; j < n; ++j) {
      float sum = 0;
      for (int64_t t = 0; t < x.dim(0); ++t) sum += xs[t * n + i] * xs[t * n + j];
      h[i * n + j] += sum;
    }
  }
}

void ReferenceBackend::add_cross_moment(const Tensor& x, const Tensor& y, const Tensor& out) {
  const int64_t n = x.dim(1);
  const std::span<const float> xs = x.span<const float>();
  const std::span<const float> ys = y.span<const float>();
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      float sum = 0;
      for (int64_t t = 0; t < x.dim(0); ++t) sum += xs[t * n + i] * ys[t * n + j];
      out.span<float>()[i * n + j] += sum;
    }
  }
}

void ReferenceBackend::scale_rows(const Tensor& x, const Tensor& factor, const Tensor& out) {
  const int64_t n = x.dim(1);
  for (int64_t i = 0; i < x.numel(); ++i) {
    out.span<float>()[i] = x.span<const float>()[i] * factor.span<const float>()[i / n];
  }
}

void ReferenceBackend::argmax(const Tensor& x, int64_t count, const Tensor& out) {
  for (int64_t row = 0; row < x.dim(0); ++row) {
    const std::span<const float> values =
        x.rows(row, 1).span<const float>().first(static_cast<size_t>(count));
    out.span<int32_t>()[static_cast<size_t>(row)] =
        static_cast<int32_t>(std::ranges::max_element(values) - values.begin());
  }
}

void ReferenceBackend::add_abs_sum(const Tensor& x, const Tensor& out) {
  const int64_t n = x.dim(1);
  for (int64_t t = 0; t < x.dim(0); ++t) {
    for (int64_t i = 0; i < n; ++i) {
      out.span<float>()[i] += std::abs(x.span<const float>()[t * n + i]);
    }
  }
}

double ReferenceBackend::dot(const Tensor& a, const Tensor& b, int64_t first) {
  const int64_t n = b.dim(1);
  double total = 0;
  for (int64_t row = 0; row < a.dim(0); ++row) {
    float sum = 0;
    for (int64_t i = 0; i < n; ++i) {
      sum += a.span<const float>()[row * a.dim(1) + first + i] * b.span<const float>()[row * n + i];
    }
    total += sum;
  }
  return total;
}

bool ReferenceBackend::factor_cholesky(const Tensor& m, const Between& between) {
  const int64_t n = m.dim(0);
  const std::span<float> r = m.span<float>();
  for (int64_t i = 0; i < n; ++i) {
    between();
    for (int64_t j = i; j < n; ++j) {
      double rest = r[i * n + j];
      for (int64_t k = 0; k < i; ++k) rest -= static_cast<double>(r[k * n + i]) * r[k * n + j];
      if (j == i && !(rest > 0 && std::isfinite(rest))) return false;
      r[i * n + j] = static_cast<float>(j == i ? std::sqrt(rest) : rest / r[i * n + i]);
    }
  }
  return true;
}

// x (Rᵀ R)⁻¹: first y with y R = x, then z with z Rᵀ = y.
void ReferenceBackend::solve_cholesky(const Tensor& factor, const Tensor& x,
                                      const Between& between) {
  const int64_t n = factor.dim(0);
  const std::span<const float> r = factor.span<const float>();
  for (int64_t row = 0; row < x.dim(0); ++row) {
    between();
    const std::span<float> v = x.rows(row, 1).span<float>();
    for (int64_t j = 0; j < n; ++j) {
      double rest = v[j];
      for (int64_t k = 0; k < j; ++k) rest -= static_cast<double>(v[k]) * r[k * n + j];
      v[j] = static_cast<float>(rest / r[j * n + j]);
    }
    for (int64_t j = n; j-- > 0;) {
      double rest = v[j];
      for (int64_t k = j + 1; k < n; ++k) rest -= static_cast<double>(v[k]) * r[j * n + k];
      v[j] = static_cast<float>(rest / r[j * n + j]);
    }
  }
}

}  // namespace squint::reference
