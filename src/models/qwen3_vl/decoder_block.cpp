#include "models/qwen3_vl/decoder_block.h"

#include <fmt/format.h>

#include <array>
#include <cmath>

#include "ops/ops.h"

namespace squint::qwen3_vl {
namespace {

struct LinearShape {
  std::string_view module;
  int64_t out;
  int64_t in;
};

LinearShape shape_of(LinearRole role, const TextConfig& c) {
  const int64_t q = c.heads * c.head_dim;
  const int64_t kv = c.kv_heads * c.head_dim;
  switch (role) {
    case LinearRole::q:
      return {"self_attn.q_proj", q, c.hidden};
    case LinearRole::k:
      return {"self_attn.k_proj", kv, c.hidden};
    case LinearRole::v:
      return {"self_attn.v_proj", kv, c.hidden};
    case LinearRole::o:
      return {"self_attn.o_proj", c.hidden, q};
    case LinearRole::gate:
      return {"mlp.gate_proj", c.intermediate, c.hidden};
    case LinearRole::up:
      return {"mlp.up_proj", c.intermediate, c.hidden};
    case LinearRole::down:
      break;
  }
  return {"mlp.down_proj", c.hidden, c.intermediate};
}

std::string_view module_of(NormRole role) {
  switch (role) {
    case NormRole::attention:
      return "input_layernorm";
    case NormRole::mlp:
      return "post_attention_layernorm";
    case NormRole::query:
      return "self_attn.q_norm";
    case NormRole::key:
      break;
  }
  return "self_attn.k_norm";
}

}  // namespace

LinearSize linear_size(LinearRole role, const TextConfig& config) {
  const LinearShape shape = shape_of(role, config);
  return {shape.out, shape.in};
}

int64_t norm_size(NormRole role, const TextConfig& c) {
  return role == NormRole::attention || role == NormRole::mlp ? c.hidden : c.head_dim;
}

std::string_view short_name(LinearRole role) {
  const std::string_view module = shape_of(role, {}).module;
  return module.substr(module.find('.') + 1);
}

std::string module_name(int64_t layer, LinearRole role) {
  return fmt::format("model.language_model.layers.{}.{}", layer, shape_of(role, {}).module);
}

std::string norm_name(int64_t layer, NormRole role) {
  return fmt::format("model.language_model.layers.{}.{}.weight", layer, module_of(role));
}

DecoderBlockWeights DecoderBlockWeights::load(const Weights& weights, const TextConfig& config,
                                              int64_t layer) {
  DecoderBlockWeights block;
  for (const LinearRole role : kAllLinears) {
    const LinearShape shape = shape_of(role, config);
    block[role] = weights.linear(module_name(layer, role), shape.out, shape.in);
  }
  for (const NormRole role : kAllNorms) {
    block[role] = weights.stored(norm_name(layer, role), {norm_size(role, config)});
  }
  return block;
}

void DecoderBlockWeights::expect(const Weights& weights, const TextConfig& config, int64_t layer) {
  for (const LinearRole role : kAllLinears) {
    const std::string name = module_name(layer, role);
    // Packed layers are checked against their own shape when they are loaded.
    if (weights.checkpoint().find(name + ".weight_packed") != nullptr) continue;
    const LinearShape shape = shape_of(role, config);
    weights.expected(name + ".weight", {shape.out, shape.in});
  }
  for (const NormRole role : kAllNorms) {
    weights.expected(norm_name(layer, role), {norm_size(role, config)});
  }
}

std::vector<SmoothGroup> smooth_groups(const TextConfig& config) {
  using enum LinearRole;
  const auto norm = [](std::string_view name, NormRole role, std::vector<LinearRole> sinks) {
    return SmoothGroup{name, true, role, q, std::move(sinks)};
  };
  const auto rows = [](std::string_view name, LinearRole role, std::vector<LinearRole> sinks) {
    return SmoothGroup{name, false, NormRole::attention, role, std::move(sinks)};
  };
  std::vector<SmoothGroup> groups = {
      norm("input_layernorm → q, k, v", NormRole::attention, {q, k, v}),
      norm("post_attention_layernorm → gate, up", NormRole::mlp, {gate, up}),
      rows("up_proj → down_proj", up, {down}),
  };
  if (config.heads == config.kv_heads) groups.push_back(rows("v_proj → o_proj", v, {o}));
  return groups;
}

DecoderBlock::DecoderBlock(const DecoderBlockWeights& weights, const TextConfig& config,
                           int64_t layer, Backend& backend)
    : config_(config), layer_(layer) {
  for (size_t i = 0; i < kLinearRoles; ++i) linears_[i] = backend.prepare(weights.linears[i]);
  for (size_t i = 0; i < kNormRoles; ++i) {
    const Tensor host = to_f32(weights.norms[i]);
    norms_[i] = Tensor(backend.allocate(host.bytes()), 0, DType::f32, host.shape());
    backend.copy(host, norms_[i]);
  }
}

void DecoderBlock::attend(Context& cx, const Tensor& cosine, const Tensor& sine,
                          std::span<const KvSlice> sequences, const Tensor& normed,
                          const Tensor& mixed) const {
  const int64_t tokens = normed.dim(0);
  const int64_t d = config_.head_dim;
  const Shape q_heads{tokens, config_.heads, d};
  const Shape kv_heads{tokens, config_.kv_heads, d};
  const Tensor q = cx.scratch.tensor({tokens, config_.heads * d});
  const Tensor k = cx.scratch.tensor({tokens, config_.kv_heads * d});
  const Tensor v = cx.scratch.tensor({tokens, config_.kv_heads * d});
  ops::linear(cx, normed, linear(LinearRole::q), q);
  ops::linear(cx, normed, linear(LinearRole::k), k);
  ops::linear(cx, normed, linear(LinearRole::v), v);
  const Tensor queries = q.reshaped(q_heads);
  const Tensor keys = k.reshaped(kv_heads);
  const Tensor values = v.reshaped(kv_heads);
  ops::rms_norm(cx, queries, norm(NormRole::query), config_.norm_eps, queries);
  ops::rms_norm(cx, keys, norm(NormRole::key), config_.norm_eps, keys);
  ops::rotate(cx, cosine, sine, queries);
  ops::rotate(cx, cosine, sine, keys);
  for (const KvSlice& s : sequences) {
    const int64_t first = s.kv->length;
    ops::append_kv(cx, keys.rows(s.begin, s.count), values.rows(s.begin, s.count), *s.kv);
    ops::attention(cx,
                   {.query = queries.rows(s.begin, s.count),
                    .kv = s.kv,
                    .first_position = first,
                    .causal = true,
                    .scale = 1.0f / std::sqrt(static_cast<float>(d))},
                   mixed.rows(s.begin, s.count));
  }
}

void DecoderBlock::forward(Context& cx, const Tensor& cosine, const Tensor& sine,
                           std::span<const KvSlice> sequences, const Tensor& hidden) const {
  const Arena::Scope scope(cx.scratch);
  if (ops::has_fused(cx)) {
    run_fused(cx, cosine, sine, sequences, hidden);
  } else {
    run(cx, cosine, sine, sequences, hidden, std::nullopt);
  }
}

// What run() computes, in fewer steps.
void DecoderBlock::run_fused(Context& cx, const Tensor& cosine, const Tensor& sine,
                             std::span<const KvSlice> sequences, const Tensor& hidden) const {
  using enum LinearRole;
  const int64_t tokens = hidden.dim(0);
  const int64_t d = config_.head_dim;
  const float eps = config_.norm_eps;
  const Tensor queries = cx.scratch.tensor({tokens, config_.heads * d});
  const Tensor keys = cx.scratch.tensor({tokens, config_.kv_heads * d});
  const Tensor values = cx.scratch.tensor({tokens, config_.kv_heads * d});
  const Tensor mixed = cx.scratch.tensor(queries.shape());
  const Tensor gated = cx.scratch.tensor({tokens, config_.intermediate});
  ops::norm_linears(cx, hidden, norm(NormRole::attention), eps,
                    std::array{&linear(q), &linear(k), &linear(v)},
                    std::array{queries, keys, values});
  ops::attend_heads(cx,
                    {.query = queries.reshaped({tokens, config_.heads, d}),
                     .key = keys.reshaped({tokens, config_.kv_heads, d}),
                     .value = values.reshaped({tokens, config_.kv_heads, d}),
                     .query_norm = norm(NormRole::query),
                     .key_norm = norm(NormRole::key),
                     .eps = eps,
                     .cosine = cosine,
                     .sine = sine},
                    sequences, 1.0f / std::sqrt(static_cast<float>(d)), mixed);
  ops::linear_add(cx, mixed, linear(o), hidden);
  ops::norm_gated_add(cx, hidden, norm(NormRole::mlp), eps, linear(gate), linear(up), linear(down),
                      gated, hidden);
}

Tensor DecoderBlock::run(Context& cx, const Tensor& cosine, const Tensor& sine,
                         std::span<const KvSlice> sequences, const Tensor& hidden,
                         std::optional<LinearRole> until) const {
  using enum LinearRole;
  const int64_t tokens = hidden.dim(0);
  // What is returned is made before the scope that gives everything else back.
  const Tensor normed = cx.scratch.tensor(hidden.shape());
  const Tensor mixed = cx.scratch.tensor({tokens, config_.heads * config_.head_dim});
  const Tensor gated = cx.scratch.tensor({tokens, config_.intermediate});
  const Arena::Scope scope(cx.scratch);
  const Tensor out = cx.scratch.tensor(hidden.shape());

  // hidden_states = hidden_states + self_attn(input_layernorm(hidden_states))
  ops::rms_norm(cx, hidden, norm(NormRole::attention), config_.norm_eps, normed);
  if (until == q || until == k || until == v) return normed;
  attend(cx, cosine, sine, sequences, normed, mixed);
  if (until == o) return mixed;
  ops::linear(cx, mixed, linear(o), out);
  cx.show("text.attention", layer_, out);
  ops::add(cx, out, hidden);

  // hidden_states = hidden_states + mlp(post_attention_layernorm(hidden_states))
  ops::rms_norm(cx, hidden, norm(NormRole::mlp), config_.norm_eps, normed);
  if (until == gate || until == LinearRole::up) return normed;
  const Tensor upper = cx.scratch.tensor(gated.shape());
  ops::linear(cx, normed, linear(gate), gated);
  ops::linear(cx, normed, linear(LinearRole::up), upper);
  ops::swiglu(cx, gated, upper, gated);
  if (until == down) return gated;
  ops::linear(cx, gated, linear(down), out);
  cx.show("text.mlp", layer_, out);
  ops::add(cx, out, hidden);
  cx.show("text.layer", layer_, hidden);
  return {};
}

}  // namespace squint::qwen3_vl
