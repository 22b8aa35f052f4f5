// decoder_block.h: one layer of the language model (spec qwen3-vl.md §5.4), as stored and ready to
// run, and what may be rescaled in it without changing its output.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "models/qwen3_vl/config.h"
#include "models/qwen3_vl/weights.h"
#include "ops/context.h"
#include "ops/fused.h"

namespace squint::qwen3_vl {

enum class LinearRole : uint8_t { q, k, v, o, gate, up, down };
inline constexpr size_t kLinearRoles = 7;
enum class NormRole : uint8_t { attention, mlp, query, key };
inline constexpr size_t kNormRoles = 4;

inline constexpr std::array<LinearRole, kLinearRoles> kAllLinears = {
    LinearRole::q,    LinearRole::k,  LinearRole::v,   LinearRole::o,
    LinearRole::gate, LinearRole::up, LinearRole::down};
inline constexpr std::array<NormRole, kNormRoles> kAllNorms = {NormRole::attention, NormRole::mlp,
                                                               NormRole::query, NormRole::key};

struct LinearSize {
  int64_t out = 0;
  int64_t in = 0;
};
LinearSize linear_size(LinearRole role, const TextConfig& config);
int64_t norm_size(NormRole role, const TextConfig& config);
// "q_proj", as in messages and reports
std::string_view short_name(LinearRole role);
// "model.language_model.layers.3.self_attn.q_proj"
std::string module_name(int64_t layer, LinearRole role);
std::string norm_name(int64_t layer, NormRole role);  // with ".weight"

// A layer's tensors as a checkpoint stores them, in host memory.
struct DecoderBlockWeights {
  std::array<LinearWeight, kLinearRoles> linears;
  std::array<Tensor, kNormRoles> norms;

  LinearWeight& operator[](LinearRole role) { return linears[static_cast<size_t>(role)]; }
  const LinearWeight& operator[](LinearRole role) const {
    return linears[static_cast<size_t>(role)];
  }
  Tensor& operator[](NormRole role) { return norms[static_cast<size_t>(role)]; }
  const Tensor& operator[](NormRole role) const { return norms[static_cast<size_t>(role)]; }

  static DecoderBlockWeights load(const Weights& weights, const TextConfig& config, int64_t layer);
  // The same checks but for the values, which are not read: a damaged checkpoint shows at once.
  static void expect(const Weights& weights, const TextConfig& config, int64_t layer);
};

// Dividing the source's output channels by s and multiplying the sinks' input columns by s leaves
// the layer's output unchanged. All consumers of the source are sinks. AWQ reads this; nothing is
// guessed from names.
struct SmoothGroup {
  std::string_view name;
  // The source is a norm, or, where `source_is_norm` is false, the rows of a linear layer.
  bool source_is_norm;
  NormRole norm;
  LinearRole linear;
  std::vector<LinearRole> sinks;
};
// v_proj → o_proj is absent where their widths differ, as with grouped queries (spec awq-w4a16.md
// §1.2).
std::vector<SmoothGroup> smooth_groups(const TextConfig& config);

class DecoderBlock {
 public:
  DecoderBlock(const DecoderBlockWeights& weights, const TextConfig& config, int64_t layer,
               Backend& backend);

  // hidden [tokens, hidden], updated in place; cosine, sine [tokens, head_dim / 2].
  void forward(Context& cx, const Tensor& cosine, const Tensor& sine,
               std::span<const KvSlice> sequences, const Tensor& hidden) const;
  // The same up to the linear layer `role`, whose input [tokens, its in_features] is returned, in
  // scratch. hidden is used up.
  Tensor input_of(LinearRole role, Context& cx, const Tensor& cosine, const Tensor& sine,
                  std::span<const KvSlice> sequences, const Tensor& hidden) const {
    return run(cx, cosine, sine, sequences, hidden, role);
  }

  // The prepared weight, whose address identifies it to a LinearObserver.
  const LinearWeight& linear(LinearRole role) const { return linears_[static_cast<size_t>(role)]; }

 private:
  const Tensor& norm(NormRole role) const { return norms_[static_cast<size_t>(role)]; }
  Tensor run(Context& cx, const Tensor& cosine, const Tensor& sine,
             std::span<const KvSlice> sequences, const Tensor& hidden,
             std::optional<LinearRole> until) const;
  void run_fused(Context& cx, const Tensor& cosine, const Tensor& sine,
                 std::span<const KvSlice> sequences, const Tensor& hidden) const;
  void attend(Context& cx, const Tensor& cosine, const Tensor& sine,
              std::span<const KvSlice> sequences, const Tensor& normed, const Tensor& mixed) const;

  TextConfig config_;
  int64_t layer_;
  std::array<LinearWeight, kLinearRoles> linears_;
  std::array<Tensor, kNormRoles> norms_;
};

}  // namespace squint::qwen3_vl
