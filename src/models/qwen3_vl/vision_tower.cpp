#include "models/qwen3_vl/vision_tower.h"

#include <fmt/format.h>

#include <array>
#include <cmath>

#include "models/qwen3_vl/positions.h"
#include "ops/ops.h"

namespace squint::qwen3_vl {
namespace {

constexpr float kNormEps = 1e-6f;  // not in config.json (spec §1.5)

Tensor on_device(Context& cx, const Tensor& host) {
  Tensor out = cx.scratch.tensor(host.shape(), host.dtype());
  cx.backend.copy(host, out);
  return out;
}

Tensor kept(Context& cx, const Shape& shape) {
  return Tensor(cx.backend.allocate(shape.numel() * byte_size(DType::f32)), 0, DType::f32, shape);
}

LinearWeight vision_linear(const Weights& weights, const std::string& module, int64_t out,
                           int64_t in) {
  LinearWeight weight = weights.linear(module, out, in, /*bias=*/true);
  weight.eight_bits_do = true;
  return weight;
}

// Rows [begin, begin + count) of a dense weight: one of the three parts of qkv.
LinearWeight part_of(const LinearWeight& whole, int64_t begin, int64_t count) {
  LinearWeight part;
  part.out_features = count;
  part.in_features = whole.in_features;
  part.weight = std::get<Tensor>(whole.weight).rows(begin, count);
  part.bias = whole.bias.rows(begin, count);
  part.eight_bits_do = whole.eight_bits_do;
  return part;
}

}  // namespace

VisionTower::VisionTower(const Weights& weights, const VisionConfig& config, Backend& backend)
    : config_(config) {
  const int64_t v = config.hidden;
  const std::string prefix = "model.visual.";
  // A convolution whose kernel equals its stride is one matrix product over flattened patches.
  const Tensor kernel =
      weights.stored(prefix + "patch_embed.proj.weight",
                     {v, 3, config.temporal_patch_size, config.patch_size, config.patch_size});
  LinearWeight embed;
  embed.out_features = v;
  embed.in_features = config.patch_values();
  embed.weight = kernel.reshaped({v, config.patch_values()});
  embed.bias = to_f32(weights.stored(prefix + "patch_embed.proj.bias", {v}));
  embed.eight_bits_do = true;
  patch_embed_ = backend.prepare(embed);
  position_table_ = weights.stored(prefix + "pos_embed.weight", {config.positions, v});
  const io::Checkpoint& checkpoint = weights.checkpoint();
  checkpoint.give_back(prefix + "patch_embed.");
  for (int64_t i = 0; i < config.depth; ++i) {
    blocks_.push_back(load_block(weights, backend, i));
    checkpoint.give_back(fmt::format("{}blocks.{}.", prefix, i));
  }
  const auto load = [&](const std::string& merger, bool norm_after_merge) {
    Merger loaded = load_merger(weights, backend, merger, norm_after_merge);
    checkpoint.give_back(merger);
    return loaded;
  };
  merger_ = load(prefix + "merger.", false);
  for (size_t j = 0; j < config.deepstack_blocks.size(); ++j) {
    deepstack_mergers_.push_back(load(fmt::format("{}deepstack_merger_list.{}.", prefix, j), true));
  }
}

VisionTower::Block VisionTower::load_block(const Weights& weights, Backend& backend,
                                           int64_t index) const {
  const std::string prefix = fmt::format("model.visual.blocks.{}.", index);
  const int64_t v = config_.hidden;
  const int64_t inner = config_.intermediate;
  const auto norm = [&](const std::string& name) {
    return Norm{weights.vector(backend, prefix + name + ".weight", v),
                weights.vector(backend, prefix + name + ".bias", v)};
  };
  const auto linear = [&](const std::string& name, int64_t out, int64_t in) {
    return backend.prepare(vision_linear(weights, prefix + name, out, in));
  };
  LinearWeight qkv;
  qkv.out_features = 3 * v;
  qkv.in_features = v;
  qkv.weight = weights.stored(prefix + "attn.qkv.weight", {3 * v, v});
  qkv.bias = to_f32(weights.stored(prefix + "attn.qkv.bias", {3 * v}));
  qkv.eight_bits_do = true;
  Block block;
  block.norm1 = norm("norm1");
  block.norm2 = norm("norm2");
  block.q = backend.prepare(part_of(qkv, 0, v));
  block.k = backend.prepare(part_of(qkv, v, v));
  block.v = backend.prepare(part_of(qkv, 2 * v, v));
  block.proj = linear("attn.proj", v, v);
  block.fc1 = linear("mlp.linear_fc1", inner, v);
  block.fc2 = linear("mlp.linear_fc2", v, inner);
  return block;
}

VisionTower::Merger VisionTower::load_merger(const Weights& weights, Backend& backend,
                                             const std::string& prefix,
                                             bool norm_after_merge) const {
  const int64_t merged = config_.merged_hidden();
  const int64_t n = norm_after_merge ? merged : config_.hidden;
  return {.norm = {weights.vector(backend, prefix + "norm.weight", n),
                   weights.vector(backend, prefix + "norm.bias", n)},
          .norm_after_merge = norm_after_merge,
          .fc1 = backend.prepare(vision_linear(weights, prefix + "linear_fc1", merged, merged)),
          .fc2 = backend.prepare(
              vision_linear(weights, prefix + "linear_fc2", config_.out_hidden, merged))};
}

// x [patches, hidden], updated in place
void VisionTower::run_block(Context& cx, const Block& block, const Tensor& cosine,
                            const Tensor& sine, const Tensor& x) const {
  const Arena::Scope scope(cx.scratch);
  const int64_t patches = x.dim(0);
  const int64_t v = config_.hidden;
  const Shape heads{patches, config_.heads, config_.head_dim()};
  const Tensor normed = cx.scratch.tensor({patches, v});
  const Tensor out = cx.scratch.tensor({patches, v});

  // hidden_states = hidden_states + self.attn(self.norm1(hidden_states), ...)
  const Tensor q = cx.scratch.tensor({patches, v});
  const Tensor k = cx.scratch.tensor({patches, v});
  const Tensor values = cx.scratch.tensor({patches, v});
  const bool fused = ops::has_fused(cx);
  if (fused) {
    ops::layer_norm_linears(cx, x, block.norm1.weight, block.norm1.bias, kNormEps,
                            std::array{&block.q, &block.k, &block.v}, std::array{q, k, values});
  } else {
    ops::layer_norm(cx, x, block.norm1.weight, block.norm1.bias, kNormEps, normed);
    ops::linear(cx, normed, block.q, q);
    ops::linear(cx, normed, block.k, k);
    ops::linear(cx, normed, block.v, values);
  }
  ops::rotate(cx, cosine, sine, q.reshaped(heads));
  ops::rotate(cx, cosine, sine, k.reshaped(heads));
  KvLayer kv = ops::make_scratch_kv(cx, config_.heads, config_.head_dim(), patches);
  ops::append_kv(cx, k.reshaped(heads), values.reshaped(heads), kv);
  const Tensor mixed = cx.scratch.tensor({patches, v});
  ops::attention(cx,
                 {.query = q.reshaped(heads),
                  .kv = &kv,
                  .first_position = 0,
                  .causal = false,
                  .scale = 1.0f / std::sqrt(static_cast<float>(config_.head_dim()))},
                 mixed);
  const Tensor inner = cx.scratch.tensor({patches, config_.intermediate});
  if (fused) {
    ops::linear_add(cx, mixed, block.proj, x);
    ops::layer_norm_linears(cx, x, block.norm2.weight, block.norm2.bias, kNormEps,
                            std::array{&block.fc1}, std::array{inner});
    return ops::gelu_linear_add(cx, inner, block.fc2, x);
  }
  ops::linear(cx, mixed, block.proj, out);
  ops::add(cx, out, x);

  // hidden_states = hidden_states + self.mlp(self.norm2(hidden_states))
  ops::layer_norm(cx, x, block.norm2.weight, block.norm2.bias, kNormEps, normed);
  ops::linear(cx, normed, block.fc1, inner);
  ops::gelu(cx, inner, GeluKind::tanh, inner);
  ops::linear(cx, inner, block.fc2, out);
  ops::add(cx, out, x);
}

// Four neighbouring patches, side by side, become one token: fc2(gelu(fc1(norm(x)))).
Tensor VisionTower::merge(Context& cx, const Merger& merger, const Tensor& x) const {
  const Arena::Scope scope(cx.scratch);
  const int64_t merged = config_.merged_hidden();
  const int64_t tokens = x.numel() / merged;
  const Tensor wide = cx.scratch.tensor({tokens, merged});
  const Tensor inner = cx.scratch.tensor({tokens, merged});
  const Shape normed = merger.norm_after_merge ? wide.shape() : x.shape();
  ops::layer_norm(cx, x.reshaped(normed), merger.norm.weight, merger.norm.bias, kNormEps,
                  wide.reshaped(normed));
  ops::linear(cx, wide, merger.fc1, inner);
  ops::gelu(cx, inner, GeluKind::erf, inner);
  Tensor out = kept(cx, {tokens, config_.out_hidden});
  ops::linear(cx, inner, merger.fc2, out);
  return out;
}

ImageFeatures VisionTower::encode(Context& cx, const Patches& patches) const {
  const Arena::Scope scope(cx.scratch);
  const Tensor x = cx.scratch.tensor({patches.values.dim(0), config_.hidden});
  ops::linear(cx, on_device(cx, patches.values), patch_embed_, x);
  cx.show("vision.patch_embed", 0, x);
  const HostWork host(cx.backend);
  ops::add(cx, on_device(cx, interpolated_positions(position_table_, patches.grid, config_, host)),
           x);
  const RotaryTable rotary = vision_rotary(patches.grid, config_, host);
  const Tensor cosine = on_device(cx, rotary.cosine);
  const Tensor sine = on_device(cx, rotary.sine);
  ImageFeatures features;
  features.deepstack.resize(deepstack_mergers_.size());
  for (size_t i = 0; i < blocks_.size(); ++i) {
    cx.between();
    run_block(cx, blocks_[i], cosine, sine, x);
    cx.show("vision.block", static_cast<int64_t>(i), x);
    for (size_t j = 0; j < deepstack_mergers_.size(); ++j) {
      if (config_.deepstack_blocks[j] != static_cast<int64_t>(i)) continue;
      features.deepstack[j] = merge(cx, deepstack_mergers_[j], x);
      cx.show("vision.deepstack", static_cast<int64_t>(j), features.deepstack[j]);
    }
  }
  features.embeds = merge(cx, merger_, x);
  cx.show("vision.merger", 0, features.embeds);
  return features;
}

}  // namespace squint::qwen3_vl
