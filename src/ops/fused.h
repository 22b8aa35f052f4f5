// fused.h: operators that a device may offer whole, where their parts would each wait for memory: a
// backend that has them returns them from Backend::fused(). Whoever uses them has a way without:
// there may be none, and observers and traces want to see what lies between the parts.
//
// Arguments were checked by the functions in ops.h. T = tokens.
#pragma once

#include <span>

#include "ops/backend.h"

namespace squint {

// Rows [begin, begin + count) of a batch belong to one sequence, whose cache is `kv`.
struct KvSlice {
  int64_t begin = 0;
  int64_t count = 0;
  KvLayer* kv = nullptr;
};

struct HeadsArgs {
  Tensor query;                 // [T, heads, d]
  Tensor key;                   // [T, kv heads, d]
  Tensor value;                 // [T, kv heads, d]
  Tensor query_norm, key_norm;  // f32 [d]
  float eps;
  Tensor cosine, sine;  // [T, d / 2]
};

class FusedOperators {
 public:
  virtual ~FusedOperators() = default;

  // outs[i] = rms_norm(x) · W_iᵀ (+ bias). x [T, in].
  virtual void norm_linears(const Tensor& x, const Tensor& norm, float eps,
                            std::span<const LinearWeight* const> weights,
                            std::span<const Tensor> outs) = 0;
  // out = silu(n · gateᵀ) ∘ (n · upᵀ), n = rms_norm(x)
  virtual void norm_gated(const Tensor& x, const Tensor& norm, float eps, const LinearWeight& gate,
                          const LinearWeight& up, const Tensor& out) = 0;
  // out += x · Wᵀ (+ bias)
  virtual void linear_add(const Tensor& x, const LinearWeight& weight, const Tensor& out) = 0;
  // out += (silu(n · gateᵀ) ∘ (n · upᵀ)) · downᵀ, n = rms_norm(x). inner [T, gate.out] is used up;
  // out may be x.
  virtual void norm_gated_add(const Tensor& x, const Tensor& norm, float eps,
                              const LinearWeight& gate, const LinearWeight& up,
                              const LinearWeight& down, const Tensor& inner, const Tensor& out) {
    norm_gated(x, norm, eps, gate, up, inner);
    linear_add(inner, down, out);
  }
  // query and key, in place: rms_norm of each head, then rotated; then key and value appended to
  // the cache of their sequence.
  virtual void norm_rotate_append(const HeadsArgs& args, std::span<const KvSlice> slices) = 0;
  // Causal attention of each slice's queries to its own cache, which already holds their keys;
  // out [T, heads * d].
  virtual void attend(const Tensor& query, std::span<const KvSlice> slices, float scale,
                      const Tensor& out) = 0;
  // Both. query and key are used up.
  virtual void attend_heads(const HeadsArgs& args, std::span<const KvSlice> slices, float scale,
                            const Tensor& out) {
    norm_rotate_append(args, slices);
    attend(args.query, slices, scale, out);
  }
  // outs[i] = layer_norm(x) · W_iᵀ (+ bias)
  virtual void layer_norm_linears(const Tensor& x, const Tensor& norm, const Tensor& norm_bias,
                                  float eps, std::span<const LinearWeight* const> weights,
                                  std::span<const Tensor> outs) = 0;
  // out += gelu(x) · Wᵀ (+ bias), of GeluKind::tanh. x is used up.
  virtual void gelu_linear_add(const Tensor& x, const LinearWeight& weight, const Tensor& out) = 0;
};

}  // namespace squint
