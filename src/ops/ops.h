// ops.h: the vocabulary of the models: one checked function per operator.
//
// Each function checks shapes and types once, for every backend, and throws InternalError when the
// caller is wrong: shapes that come from files were checked where the files were read. Activations
// are f32; T counts tokens or patches.
#pragma once

#include "ops/context.h"
#include "ops/fused.h"

namespace squint::ops {

// out [T, out] = x [T, in] · Wᵀ + b. Reports x to the observer.
void linear(Context& cx, const Tensor& x, const LinearWeight& weight, const Tensor& out);

// x [..., n], weight [n]: out = x / sqrt(mean(x²) + eps) ∘ weight, per row of n. out may be x.
void rms_norm(Context& cx, const Tensor& x, const Tensor& weight, float eps, const Tensor& out);
// x [..., n]: out = (x - mean) / sqrt(var + eps) ∘ weight + bias, var biased. out may be x.
void layer_norm(Context& cx, const Tensor& x, const Tensor& weight, const Tensor& bias, float eps,
                const Tensor& out);

// Rotary embedding in place. x [T, heads, d]; cosine, sine [T, d/2]:
//   x[i], x[i + d/2] = x[i] cos[i] - x[i + d/2] sin[i],  x[i + d/2] cos[i] + x[i] sin[i]
void rotate(Context& cx, const Tensor& cosine, const Tensor& sine, const Tensor& x);

// An empty cache for one layer of one sequence, on the backend's own memory or in scratch.
KvLayer make_kv(Context& cx, int64_t heads, int64_t head_dim, int64_t capacity);
KvLayer make_scratch_kv(Context& cx, int64_t heads, int64_t head_dim, int64_t capacity);
// keys, values [T, heads, d] become positions length .. length + T - 1.
void append_kv(Context& cx, const Tensor& keys, const Tensor& values, KvLayer& kv);
// softmax(q·k * scale) · v, out [T, heads * d].
void attention(Context& cx, const AttentionArgs& args, const Tensor& out);

// out = silu(gate) ∘ up. out may be gate.
void swiglu(Context& cx, const Tensor& gate, const Tensor& up, const Tensor& out);
// out may be x.
void gelu(Context& cx, const Tensor& x, GeluKind kind, const Tensor& out);
// out += x
void add(Context& cx, const Tensor& x, const Tensor& out);

// out [T, n] = x with row t multiplied by factor[t]. out may be x.
void scale_rows(Context& cx, const Tensor& x, const Tensor& factor, const Tensor& out);

// out i32 [T]: where the first `count` values of each row of x [T, n] are largest.
void argmax(Context& cx, const Tensor& x, int64_t count, const Tensor& out);

// See Backend::repeat. Somebody who wants to look inside sees it done anew each time.
void repeat(Context& cx, const RepeatedStep& step, const std::function<void()>& body);

// Whether the operators below are there, and nobody wants to see what lies between their parts.
bool has_fused(const Context& cx);
// See FusedOperators.
void norm_linears(Context& cx, const Tensor& x, const Tensor& norm, float eps,
                  std::span<const LinearWeight* const> weights, std::span<const Tensor> outs);
void norm_gated(Context& cx, const Tensor& x, const Tensor& norm, float eps,
                const LinearWeight& gate, const LinearWeight& up, const Tensor& out);
void linear_add(Context& cx, const Tensor& x, const LinearWeight& weight, const Tensor& out);
void norm_gated_add(Context& cx, const Tensor& x, const Tensor& norm, float eps,
                    const LinearWeight& gate, const LinearWeight& up, const LinearWeight& down,
                    const Tensor& inner, const Tensor& out);
void norm_rotate_append(Context& cx, const HeadsArgs& args, std::span<const KvSlice> slices);
void attend(Context& cx, const Tensor& query, std::span<const KvSlice> slices, float scale,
            const Tensor& out);
void attend_heads(Context& cx, const HeadsArgs& args, std::span<const KvSlice> slices, float scale,
                  const Tensor& out);
void layer_norm_linears(Context& cx, const Tensor& x, const Tensor& norm, const Tensor& norm_bias,
                        float eps, std::span<const LinearWeight* const> weights,
                        std::span<const Tensor> outs);
void gelu_linear_add(Context& cx, const Tensor& x, const LinearWeight& weight, const Tensor& out);

// Gradients, see Backend; shapes as in the operators they belong to.
void rms_norm_gradient(Context& cx, const Tensor& x, const Tensor& weight, float eps,
                       const Tensor& d_out, const Tensor& d_x);
void swiglu_gradient(Context& cx, const Tensor& gate, const Tensor& up, const Tensor& d_out,
                     const Tensor& d_gate, const Tensor& d_up);
void attention_gradient(Context& cx, const AttentionGradientArgs& args);

// Calibration, see Backend. x [T, n].
void add_second_moment(Context& cx, const Tensor& x, const Tensor& out);
void add_cross_moment(Context& cx, const Tensor& x, const Tensor& y, const Tensor& out);
void add_abs_sum(Context& cx, const Tensor& x, const Tensor& out);
double dot(Context& cx, const Tensor& a, const Tensor& b, int64_t first = 0);
void combine(Context& cx, float a, const Tensor& x, float b, const Tensor& out);
bool finish_moment(Context& cx, const Tensor& m, double weight);
bool divide_columns(Context& cx, const Tensor& m, double divisor, const Tensor& factors);
void diagonal(Context& cx, const Tensor& m, const Tensor& out);
void add_to_diagonal(Context& cx, const Tensor& m, double relative, double absolute);
void reorder(Context& cx, const Tensor& m, std::span<const int32_t> order, const Tensor& out);
void make_feedback(Context& cx, const Tensor& factor);
bool factor_cholesky(Context& cx, const Tensor& m, const Between& between);
void solve_cholesky(Context& cx, const Tensor& factor, const Tensor& x, const Between& between);
// weight bf16 [out, in], whose groups must divide in.
void quantize_weight(Context& cx, const Tensor& weight, const QuantizationScheme& scheme,
                     Observer observer, const QuantizedWeight& out);
void quantization_error(Context& cx, const Tensor& weight, const Tensor& smooth,
                        const QuantizationScheme& scheme, const Tensor& out);
void scale_weight(Context& cx, const Tensor& weight, const Tensor& columns, const Tensor& rows,
                  const Tensor& out);
void restored_error(Context& cx, const QuantizedWeight& q, const Tensor& columns,
                    const Tensor& rows, const Tensor& weight, const Tensor& out);
// weight f32 [out, in]; how.hessian and how.feedback both or neither.
void round_adaptively(Context& cx, const Tensor& weight, const AdaptiveRounding& how,
                      const QuantizationScheme& scheme, const QuantizedWeight& out);

}  // namespace squint::ops
