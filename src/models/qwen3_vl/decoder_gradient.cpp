#include "models/qwen3_vl/decoder_gradient.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/check.h"
#include "ops/ops.h"

namespace squint::qwen3_vl {
namespace {

// [out, in] to [in, out], whatever the type.
LinearWeight transposed(const LinearWeight& weight, ThreadPool& threads) {
  const Tensor& from = std::get<Tensor>(weight.weight);
  const int64_t rows = from.dim(0);
  const int64_t cols = from.dim(1);
  const auto size = static_cast<size_t>(byte_size(from.dtype()));
  Tensor to = Tensor::on_host(from.dtype(), {cols, rows});
  const auto* source = reinterpret_cast<const char*>(from.raw());
  auto* target = reinterpret_cast<char*>(to.raw());
  constexpr int64_t kTile = 64;
  threads.parallel_for(cols, kTile, [&](int64_t begin, int64_t end, int) {
    for (int64_t first = 0; first < rows; first += kTile) {
      for (int64_t c = begin; c < end; ++c) {
        for (int64_t r = first; r < std::min(rows, first + kTile); ++r) {
          std::memcpy(target + static_cast<size_t>(c * rows + r) * size,
                      source + static_cast<size_t>(r * cols + c) * size, size);
        }
      }
    }
  });
  LinearWeight out;
  out.out_features = cols;
  out.in_features = rows;
  out.weight = std::move(to);
  return out;
}

}  // namespace

void head_gradient(Context& cx, const Weights& weights, const Config& config, const Tensor& hidden,
                   const Tensor& d_logits, const Tensor& d_hidden) {
  const Arena::Scope scope(cx.scratch);
  const LinearWeight head = head_weight(weights, config);
  const Tensor& table = std::get<Tensor>(head.weight);
  const int64_t n = config.text.hidden;
  const Tensor d_normed = Tensor::on_host(DType::f32, hidden.shape());
  const std::span<const float> d = d_logits.span<const float>();
  cx.backend.host_threads().parallel_for(hidden.dim(0), 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t) {
      const std::span<float> sum =
          d_normed.span<float>().subspan(static_cast<size_t>(t * n), static_cast<size_t>(n));
      std::ranges::fill(sum, 0.0f);
      for (int64_t v = 0; v < head.out_features; ++v) {
        const float factor = d[static_cast<size_t>(t * head.out_features + v)];
        if (std::abs(factor) < 1e-4f) continue;
        const Tensor row = to_f32(table.rows(v, 1));
        const std::span<const float> w = row.span<const float>();
        for (size_t i = 0; i < w.size(); ++i) sum[i] += factor * w[i];
      }
    }
  });
  const Tensor norm = weights.vector(cx.backend, kFinalNormName, n);
  const Tensor on_device = cx.scratch.tensor(hidden.shape());
  cx.backend.copy(d_normed, on_device);
  ops::rms_norm_gradient(cx, hidden, norm, config.text.norm_eps, on_device, d_hidden);
}

struct DecoderBlockGradient::Attended {
  Tensor query, key, value;   // as attention takes them, [tokens, heads, head_dim]
  Tensor raw_query, raw_key;  // before their norms
  Tensor mixed;               // what attention puts out
};

DecoderBlockGradient::DecoderBlockGradient(const DecoderBlockWeights& weights,
                                           const TextConfig& config, Backend& backend)
    : config_(config) {
  for (size_t i = 0; i < kLinearRoles; ++i) {
    SQUINT_CHECK(std::holds_alternative<Tensor>(weights.linears[i].weight));
    linears_[i] = backend.prepare(weights.linears[i]);
    transposed_[i] = backend.prepare(transposed(weights.linears[i], backend.host_threads()));
  }
  for (size_t i = 0; i < kNormRoles; ++i) {
    const Tensor host = to_f32(weights.norms[i]);
    norms_[i] = Tensor(backend.allocate(host.bytes()), 0, DType::f32, host.shape());
    backend.copy(host, norms_[i]);
  }
}

void DecoderBlockGradient::add_through(Context& cx, LinearRole role, const Tensor& d_output,
                                       const Tensor& out) const {
  const Arena::Scope scope(cx.scratch);
  const Tensor product = cx.scratch.tensor(out.shape());
  ops::linear(cx, d_output, transposed_[static_cast<size_t>(role)], product);
  ops::add(cx, product, out);
}

DecoderBlockGradient::Attended DecoderBlockGradient::attend(Context& cx, const Tensor& cosine,
                                                            const Tensor& sine,
                                                            std::span<const KvSlice> sequences,
                                                            const Tensor& normed) const {
  const int64_t tokens = normed.dim(0);
  const Shape q_heads{tokens, config_.heads, config_.head_dim};
  const Shape kv_heads{tokens, config_.kv_heads, config_.head_dim};
  const Shape q_rows{tokens, config_.heads * config_.head_dim};
  const Shape kv_rows{tokens, config_.kv_heads * config_.head_dim};
  Attended a{.query = cx.scratch.tensor(q_heads),
             .key = cx.scratch.tensor(kv_heads),
             .value = cx.scratch.tensor(kv_heads),
             .raw_query = cx.scratch.tensor(q_heads),
             .raw_key = cx.scratch.tensor(kv_heads),
             .mixed = cx.scratch.tensor(q_rows)};
  ops::linear(cx, normed, linear(LinearRole::q), a.raw_query.reshaped(q_rows));
  ops::linear(cx, normed, linear(LinearRole::k), a.raw_key.reshaped(kv_rows));
  ops::linear(cx, normed, linear(LinearRole::v), a.value.reshaped(kv_rows));
  ops::rms_norm(cx, a.raw_query, norm(NormRole::query), config_.norm_eps, a.query);
  ops::rms_norm(cx, a.raw_key, norm(NormRole::key), config_.norm_eps, a.key);
  ops::rotate(cx, cosine, sine, a.query);
  ops::rotate(cx, cosine, sine, a.key);
  for (const KvSlice& s : sequences) {
    const Arena::Scope scope(cx.scratch);
    KvLayer kv = ops::make_scratch_kv(cx, config_.kv_heads, config_.head_dim, s.count);
    ops::append_kv(cx, a.key.rows(s.begin, s.count), a.value.rows(s.begin, s.count), kv);
    ops::attention(cx,
                   {.query = a.query.rows(s.begin, s.count),
                    .kv = &kv,
                    .first_position = 0,
                    .causal = true,
                    .scale = 1.0f / std::sqrt(static_cast<float>(config_.head_dim))},
                   a.mixed.rows(s.begin, s.count));
  }
  return a;
}

void DecoderBlockGradient::run(Context& cx, const Tensor& cosine, const Tensor& sine,
                               std::span<const KvSlice> sequences, const Tensor& hidden,
                               const Tensor& d_hidden, const OnOutput& on_output) const {
  const Arena::Scope scope(cx.scratch);
  const Tensor before = cx.scratch.tensor(hidden.shape());
  cx.backend.copy(hidden, before);
  const Tensor normed = cx.scratch.tensor(hidden.shape());
  ops::rms_norm(cx, hidden, norm(NormRole::attention), config_.norm_eps, normed);
  const Attended attended = attend(cx, cosine, sine, sequences, normed);
  const Tensor out = cx.scratch.tensor(hidden.shape());
  ops::linear(cx, attended.mixed, linear(LinearRole::o), out);
  ops::add(cx, out, hidden);
  mlp(cx, hidden, d_hidden, on_output);
  attention(cx, cosine, sine, sequences, before, attended, d_hidden, on_output);
}

void DecoderBlockGradient::mlp(Context& cx, const Tensor& hidden, const Tensor& d_hidden,
                               const OnOutput& on_output) const {
  const Arena::Scope scope(cx.scratch);
  const Shape inner{hidden.dim(0), config_.intermediate};
  const Tensor normed = cx.scratch.tensor(hidden.shape());
  const Tensor gate = cx.scratch.tensor(inner);
  const Tensor up = cx.scratch.tensor(inner);
  const Tensor d_gated = cx.scratch.tensor(inner);
  ops::rms_norm(cx, hidden, norm(NormRole::mlp), config_.norm_eps, normed);
  ops::linear(cx, normed, linear(LinearRole::gate), gate);
  ops::linear(cx, normed, linear(LinearRole::up), up);

  on_output(LinearRole::down, d_hidden);
  ops::linear(cx, d_hidden, transposed_[static_cast<size_t>(LinearRole::down)], d_gated);
  ops::swiglu_gradient(cx, gate, up, d_gated, gate, up);
  on_output(LinearRole::gate, gate);
  on_output(LinearRole::up, up);
  const Tensor& d_normed = normed;
  ops::linear(cx, gate, transposed_[static_cast<size_t>(LinearRole::gate)], d_normed);
  add_through(cx, LinearRole::up, up, d_normed);
  ops::rms_norm_gradient(cx, hidden, norm(NormRole::mlp), config_.norm_eps, d_normed, d_normed);
  ops::add(cx, d_normed, d_hidden);
}

void DecoderBlockGradient::attention(Context& cx, const Tensor& cosine, const Tensor& sine,
                                     std::span<const KvSlice> sequences, const Tensor& hidden,
                                     const Attended& forward, const Tensor& d_hidden,
                                     const OnOutput& on_output) const {
  const Arena::Scope scope(cx.scratch);
  const int64_t tokens = hidden.dim(0);
  const Shape q_rows = forward.mixed.shape();
  const Shape kv_rows{tokens, config_.kv_heads * config_.head_dim};
  const Tensor d_mixed = cx.scratch.tensor(q_rows);
  const Tensor d_query = cx.scratch.tensor(forward.query.shape());
  const Tensor d_key = cx.scratch.tensor(forward.key.shape());
  const Tensor d_value = cx.scratch.tensor(forward.value.shape());
  on_output(LinearRole::o, d_hidden);
  ops::linear(cx, d_hidden, transposed_[static_cast<size_t>(LinearRole::o)], d_mixed);
  for (const KvSlice& s : sequences) {
    const auto part = [&](const Tensor& t) { return t.rows(s.begin, s.count); };
    ops::attention_gradient(cx, {.query = part(forward.query),
                                 .key = part(forward.key),
                                 .value = part(forward.value),
                                 .scale = 1.0f / std::sqrt(static_cast<float>(config_.head_dim)),
                                 .d_out = part(d_mixed),
                                 .d_query = part(d_query),
                                 .d_key = part(d_key),
                                 .d_value = part(d_value)});
  }
  // The inverse of a rotation is its transpose.
  const Tensor back = cx.scratch.tensor(sine.shape());
  const Tensor minus = Tensor::on_host(DType::f32, {tokens});
  std::ranges::fill(minus.span<float>(), -1.0f);
  const Tensor factor = cx.scratch.tensor({tokens});
  cx.backend.copy(minus, factor);
  ops::scale_rows(cx, sine, factor, back);
  ops::rotate(cx, cosine, back, d_query);
  ops::rotate(cx, cosine, back, d_key);
  ops::rms_norm_gradient(cx, forward.raw_query, norm(NormRole::query), config_.norm_eps, d_query,
                         d_query);
  ops::rms_norm_gradient(cx, forward.raw_key, norm(NormRole::key), config_.norm_eps, d_key, d_key);
  const Tensor d_q = d_query.reshaped(q_rows);
  const Tensor d_k = d_key.reshaped(kv_rows);
  const Tensor d_v = d_value.reshaped(kv_rows);
  on_output(LinearRole::q, d_q);
  on_output(LinearRole::k, d_k);
  on_output(LinearRole::v, d_v);
  const Tensor d_normed = cx.scratch.tensor(hidden.shape());
  ops::linear(cx, d_q, transposed_[static_cast<size_t>(LinearRole::q)], d_normed);
  add_through(cx, LinearRole::k, d_k, d_normed);
  add_through(cx, LinearRole::v, d_v, d_normed);
  ops::rms_norm_gradient(cx, hidden, norm(NormRole::attention), config_.norm_eps, d_normed,
                         d_normed);
  ops::add(cx, d_normed, d_hidden);
}

}  // namespace squint::qwen3_vl
