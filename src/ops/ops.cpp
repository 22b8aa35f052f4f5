#include "ops/ops.h"

#include "base/check.h"

namespace squint::ops {
namespace {

bool is_f32(const Tensor& x) { return !x.empty() && x.dtype() == DType::f32; }
bool same_f32(const Tensor& a, const Tensor& b) {
  return is_f32(a) && is_f32(b) && a.shape() == b.shape();
}

bool is_square(const Tensor& m) {
  return is_f32(m) && m.shape().rank() == 2 && m.dim(0) == m.dim(1);
}

// Of a bf16 weight's columns and rows; either may be empty.
void check_factors(const Tensor& weight, const Tensor& columns, const Tensor& rows) {
  SQUINT_CHECK(weight.dtype() == DType::bf16 && weight.shape().rank() == 2);
  SQUINT_CHECK(columns.empty() || (is_f32(columns) && columns.numel() == weight.dim(1)));
  SQUINT_CHECK(rows.empty() || (is_f32(rows) && rows.numel() == weight.dim(0)));
}

void check_quantized(const Tensor& weight, const QuantizationScheme& scheme,
                     const QuantizedWeight& out) {
  SQUINT_CHECK(weight.shape().rank() == 2);
  SQUINT_CHECK(scheme.divides(weight.dim(1)) && out.codes.shape() == weight.shape());
  SQUINT_CHECK(out.scales.shape() == Shape({weight.dim(0), scheme.groups(weight.dim(1))}));
  SQUINT_CHECK(out.zero_points.shape() == out.scales.shape());
}

void check_linear(const Tensor& x, const LinearWeight& weight, const Tensor& out) {
  SQUINT_CHECK(is_f32(x) && is_f32(out) && x.shape().rank() == 2 && out.shape().rank() == 2);
  SQUINT_CHECK(x.dim(1) == weight.in_features && out.dim(1) == weight.out_features);
  SQUINT_CHECK(x.dim(0) == out.dim(0));
  SQUINT_CHECK(weight.bias.empty() || weight.bias.numel() == weight.out_features);
}

FusedOperators& fused(const Context& cx) {
  SQUINT_CHECK(has_fused(cx));
  return *cx.backend.fused();
}

void check_slices(std::span<const KvSlice> slices, int64_t tokens) {
  for (const KvSlice& s : slices) {
    SQUINT_CHECK(s.kv != nullptr && s.begin >= 0 && s.count > 0 && s.begin + s.count <= tokens);
  }
}

void check_heads(const HeadsArgs& args, std::span<const KvSlice> slices) {
  const int64_t tokens = args.query.dim(0);
  const int64_t d = args.query.dim(2);
  SQUINT_CHECK(is_f32(args.query) && same_f32(args.key, args.value));
  SQUINT_CHECK(args.key.dim(0) == tokens && args.key.dim(2) == d);
  SQUINT_CHECK(same_f32(args.query_norm, args.key_norm) && args.key_norm.numel() == d);
  SQUINT_CHECK(same_f32(args.cosine, args.sine));
  SQUINT_CHECK(args.cosine.shape() == Shape({tokens, d / 2}));
  check_slices(slices, tokens);
  for (const KvSlice& s : slices) {
    SQUINT_CHECK(s.kv->heads == args.key.dim(1) && s.kv->head_dim == d);
    SQUINT_CHECK(s.kv->length + s.count <= s.kv->capacity);
  }
}

void check_attended(const Tensor& query, std::span<const KvSlice> slices, const Tensor& out) {
  SQUINT_CHECK(is_f32(query) && query.shape().rank() == 3);
  SQUINT_CHECK(is_f32(out) && out.numel() == query.numel());
  check_slices(slices, query.dim(0));
  for (const KvSlice& s : slices) {
    SQUINT_CHECK(query.dim(1) % s.kv->heads == 0 && query.dim(2) == s.kv->head_dim);
  }
}

}  // namespace

void repeat(Context& cx, const RepeatedStep& step, const std::function<void()>& body) {
  for (const KvLayer* kv : step.caches) SQUINT_CHECK(kv->length < kv->capacity);
  if (cx.observer != nullptr || cx.trace != nullptr) return body();
  cx.backend.repeat(step, body);
}

bool has_fused(const Context& cx) {
  return cx.observer == nullptr && cx.trace == nullptr && cx.backend.fused() != nullptr;
}

void linear(Context& cx, const Tensor& x, const LinearWeight& weight, const Tensor& out) {
  check_linear(x, weight, out);
  if (cx.observer != nullptr) cx.observer->saw(weight, x);
  cx.backend.linear(x, weight, out);
}

void rms_norm(Context& cx, const Tensor& x, const Tensor& weight, float eps, const Tensor& out) {
  SQUINT_CHECK(same_f32(x, out) && is_f32(weight) && x.dim(-1) == weight.numel());
  cx.backend.rms_norm(x, weight, eps, out);
}

void layer_norm(Context& cx, const Tensor& x, const Tensor& weight, const Tensor& bias, float eps,
                const Tensor& out) {
  SQUINT_CHECK(same_f32(x, out) && same_f32(weight, bias) && x.dim(-1) == weight.numel());
  cx.backend.layer_norm(x, weight, bias, eps, out);
}

void rotate(Context& cx, const Tensor& cosine, const Tensor& sine, const Tensor& x) {
  SQUINT_CHECK(same_f32(cosine, sine) && is_f32(x) && x.shape().rank() == 3);
  SQUINT_CHECK(cosine.dim(0) == x.dim(0) && cosine.dim(1) * 2 == x.dim(2));
  cx.backend.rotate(cosine, sine, x);
}

KvLayer make_kv(Context& cx, int64_t heads, int64_t head_dim, int64_t capacity) {
  const int64_t bytes = cx.backend.kv_bytes(heads, head_dim, capacity);
  return cx.backend.make_kv(cx.backend.allocate(bytes), heads, head_dim, capacity);
}

KvLayer make_scratch_kv(Context& cx, int64_t heads, int64_t head_dim, int64_t capacity) {
  const int64_t bytes = cx.backend.kv_bytes(heads, head_dim, capacity);
  return cx.backend.make_kv(cx.scratch.bytes(bytes), heads, head_dim, capacity);
}

void append_kv(Context& cx, const Tensor& keys, const Tensor& values, KvLayer& kv) {
  SQUINT_CHECK(same_f32(keys, values) && keys.shape().rank() == 3);
  SQUINT_CHECK(keys.dim(1) == kv.heads && keys.dim(2) == kv.head_dim);
  SQUINT_CHECK(kv.length + keys.dim(0) <= kv.capacity);
  cx.backend.append_kv(keys, values, kv);
}

void attention(Context& cx, const AttentionArgs& args, const Tensor& out) {
  const Tensor& q = args.query;
  SQUINT_CHECK(is_f32(q) && q.shape().rank() == 3 && q.dim(2) == args.kv->head_dim);
  SQUINT_CHECK(q.dim(1) % args.kv->heads == 0);
  SQUINT_CHECK(is_f32(out) && out.numel() == q.numel());
  SQUINT_CHECK(args.kv->length > 0);
  SQUINT_CHECK(!args.causal || args.first_position + q.dim(0) <= args.kv->length);
  cx.backend.attention(args, out);
}

void swiglu(Context& cx, const Tensor& gate, const Tensor& up, const Tensor& out) {
  SQUINT_CHECK(same_f32(gate, up) && same_f32(gate, out));
  cx.backend.swiglu(gate, up, out);
}

void gelu(Context& cx, const Tensor& x, GeluKind kind, const Tensor& out) {
  SQUINT_CHECK(same_f32(x, out));
  cx.backend.gelu(x, kind, out);
}

void add(Context& cx, const Tensor& x, const Tensor& out) {
  SQUINT_CHECK(is_f32(x) && is_f32(out) && x.numel() == out.numel());
  cx.backend.add(x, out);
}

void scale_rows(Context& cx, const Tensor& x, const Tensor& factor, const Tensor& out) {
  SQUINT_CHECK(same_f32(x, out) && x.shape().rank() == 2);
  SQUINT_CHECK(is_f32(factor) && factor.numel() == x.dim(0));
  cx.backend.scale_rows(x, factor, out);
}

void argmax(Context& cx, const Tensor& x, int64_t count, const Tensor& out) {
  SQUINT_CHECK(is_f32(x) && x.shape().rank() == 2 && count > 0 && count <= x.dim(1));
  SQUINT_CHECK(out.dtype() == DType::i32 && out.numel() == x.dim(0));
  cx.backend.argmax(x, count, out);
}

void norm_linears(Context& cx, const Tensor& x, const Tensor& norm, float eps,
                  std::span<const LinearWeight* const> weights, std::span<const Tensor> outs) {
  SQUINT_CHECK(is_f32(norm) && norm.numel() == x.dim(1) && weights.size() == outs.size());
  for (size_t i = 0; i < weights.size(); ++i) check_linear(x, *weights[i], outs[i]);
  fused(cx).norm_linears(x, norm, eps, weights, outs);
}

void norm_gated(Context& cx, const Tensor& x, const Tensor& norm, float eps,
                const LinearWeight& gate, const LinearWeight& up, const Tensor& out) {
  SQUINT_CHECK(is_f32(norm) && norm.numel() == x.dim(1));
  check_linear(x, gate, out);
  check_linear(x, up, out);
  fused(cx).norm_gated(x, norm, eps, gate, up, out);
}

void linear_add(Context& cx, const Tensor& x, const LinearWeight& weight, const Tensor& out) {
  check_linear(x, weight, out);
  fused(cx).linear_add(x, weight, out);
}

void norm_gated_add(Context& cx, const Tensor& x, const Tensor& norm, float eps,
                    const LinearWeight& gate, const LinearWeight& up, const LinearWeight& down,
                    const Tensor& inner, const Tensor& out) {
  SQUINT_CHECK(is_f32(norm) && norm.numel() == x.dim(1));
  check_linear(x, gate, inner);
  check_linear(x, up, inner);
  check_linear(inner, down, out);
  fused(cx).norm_gated_add(x, norm, eps, gate, up, down, inner, out);
}

void norm_rotate_append(Context& cx, const HeadsArgs& args, std::span<const KvSlice> slices) {
  check_heads(args, slices);
  fused(cx).norm_rotate_append(args, slices);
}

void attend(Context& cx, const Tensor& query, std::span<const KvSlice> slices, float scale,
            const Tensor& out) {
  check_attended(query, slices, out);
  for (const KvSlice& s : slices) SQUINT_CHECK(s.count <= s.kv->length);
  fused(cx).attend(query, slices, scale, out);
}

void attend_heads(Context& cx, const HeadsArgs& args, std::span<const KvSlice> slices, float scale,
                  const Tensor& out) {
  check_heads(args, slices);
  check_attended(args.query, slices, out);
  fused(cx).attend_heads(args, slices, scale, out);
}

void layer_norm_linears(Context& cx, const Tensor& x, const Tensor& norm, const Tensor& norm_bias,
                        float eps, std::span<const LinearWeight* const> weights,
                        std::span<const Tensor> outs) {
  SQUINT_CHECK(same_f32(norm, norm_bias) && norm.numel() == x.dim(1));
  SQUINT_CHECK(weights.size() == outs.size());
  for (size_t i = 0; i < weights.size(); ++i) check_linear(x, *weights[i], outs[i]);
  fused(cx).layer_norm_linears(x, norm, norm_bias, eps, weights, outs);
}

void gelu_linear_add(Context& cx, const Tensor& x, const LinearWeight& weight, const Tensor& out) {
  check_linear(x, weight, out);
  fused(cx).gelu_linear_add(x, weight, out);
}

void rms_norm_gradient(Context& cx, const Tensor& x, const Tensor& weight, float eps,
                       const Tensor& d_out, const Tensor& d_x) {
  SQUINT_CHECK(same_f32(x, d_out) && same_f32(x, d_x));
  SQUINT_CHECK(is_f32(weight) && x.dim(-1) == weight.numel());
  cx.backend.rms_norm_gradient(x, weight, eps, d_out, d_x);
}

void swiglu_gradient(Context& cx, const Tensor& gate, const Tensor& up, const Tensor& d_out,
                     const Tensor& d_gate, const Tensor& d_up) {
  SQUINT_CHECK(same_f32(gate, up) && same_f32(gate, d_out));
  SQUINT_CHECK(same_f32(gate, d_gate) && same_f32(gate, d_up));
  cx.backend.swiglu_gradient(gate, up, d_out, d_gate, d_up);
}

void attention_gradient(Context& cx, const AttentionGradientArgs& args) {
  const Tensor& q = args.query;
  SQUINT_CHECK(same_f32(q, args.d_query) && q.shape().rank() == 3);
  SQUINT_CHECK(same_f32(args.key, args.value) && args.key.shape().rank() == 3);
  SQUINT_CHECK(args.key.dim(0) == q.dim(0) && args.key.dim(2) == q.dim(2));
  SQUINT_CHECK(q.dim(1) % args.key.dim(1) == 0);
  SQUINT_CHECK(same_f32(args.key, args.d_key) && same_f32(args.key, args.d_value));
  SQUINT_CHECK(is_f32(args.d_out) && args.d_out.numel() == q.numel());
  cx.backend.attention_gradient(args);
}

void add_second_moment(Context& cx, const Tensor& x, const Tensor& out) {
  SQUINT_CHECK(is_f32(x) && is_f32(out) && x.shape().rank() == 2);
  SQUINT_CHECK(out.shape() == Shape({x.dim(1), x.dim(1)}));
  cx.backend.add_second_moment(x, out);
}

void add_cross_moment(Context& cx, const Tensor& x, const Tensor& y, const Tensor& out) {
  SQUINT_CHECK(same_f32(x, y) && is_f32(out) && x.shape().rank() == 2);
  SQUINT_CHECK(out.shape() == Shape({x.dim(1), x.dim(1)}));
  cx.backend.add_cross_moment(x, y, out);
}

void add_abs_sum(Context& cx, const Tensor& x, const Tensor& out) {
  SQUINT_CHECK(is_f32(x) && is_f32(out) && x.shape().rank() == 2 && out.numel() == x.dim(1));
  cx.backend.add_abs_sum(x, out);
}

double dot(Context& cx, const Tensor& a, const Tensor& b, int64_t first) {
  SQUINT_CHECK(is_f32(a) && is_f32(b) && a.shape().rank() == 2 && b.shape().rank() == 2);
  SQUINT_CHECK(a.dim(0) == b.dim(0) && first >= 0 && first + b.dim(1) <= a.dim(1));
  return cx.backend.dot(a, b, first);
}

void combine(Context& cx, float a, const Tensor& x, float b, const Tensor& out) {
  SQUINT_CHECK(same_f32(x, out));
  cx.backend.combine(a, x, b, out);
}

bool finish_moment(Context& cx, const Tensor& m, double weight) {
  SQUINT_CHECK(is_square(m));
  return cx.backend.finish_moment(m, weight);
}

bool divide_columns(Context& cx, const Tensor& m, double divisor, const Tensor& factors) {
  SQUINT_CHECK(is_f32(m) && m.shape().rank() == 2);
  SQUINT_CHECK(factors.empty() || (is_f32(factors) && factors.numel() == m.dim(1)));
  return cx.backend.divide_columns(m, divisor, factors);
}

void diagonal(Context& cx, const Tensor& m, const Tensor& out) {
  SQUINT_CHECK(is_square(m) && is_f32(out) && out.numel() == m.dim(0));
  cx.backend.diagonal(m, out);
}

void add_to_diagonal(Context& cx, const Tensor& m, double relative, double absolute) {
  SQUINT_CHECK(is_square(m));
  cx.backend.add_to_diagonal(m, relative, absolute);
}

void reorder(Context& cx, const Tensor& m, std::span<const int32_t> order, const Tensor& out) {
  SQUINT_CHECK(is_square(m) && same_f32(m, out) && std::ssize(order) == m.dim(0));
  cx.backend.reorder(m, order, out);
}

void make_feedback(Context& cx, const Tensor& factor) {
  SQUINT_CHECK(is_square(factor));
  cx.backend.make_feedback(factor);
}

bool factor_cholesky(Context& cx, const Tensor& m, const Between& between) {
  SQUINT_CHECK(is_square(m));
  return cx.backend.factor_cholesky(m, between);
}

void solve_cholesky(Context& cx, const Tensor& factor, const Tensor& x, const Between& between) {
  SQUINT_CHECK(is_f32(factor) && factor.shape() == Shape({x.dim(1), x.dim(1)}) && is_f32(x));
  cx.backend.solve_cholesky(factor, x, between);
}

void quantize_weight(Context& cx, const Tensor& weight, const QuantizationScheme& scheme,
                     Observer observer, const QuantizedWeight& out) {
  SQUINT_CHECK(weight.dtype() == DType::bf16);
  check_quantized(weight, scheme, out);
  cx.backend.quantize_weight(weight, scheme, observer, out);
}

void quantization_error(Context& cx, const Tensor& weight, const Tensor& smooth,
                        const QuantizationScheme& scheme, const Tensor& out) {
  SQUINT_CHECK(weight.dtype() == DType::bf16 && weight.shape().rank() == 2);
  SQUINT_CHECK(scheme.divides(weight.dim(1)) && is_f32(out) && out.shape() == weight.shape());
  SQUINT_CHECK(smooth.empty() || (is_f32(smooth) && smooth.numel() == weight.dim(1)));
  cx.backend.quantization_error(weight, smooth, scheme, out);
}

void scale_weight(Context& cx, const Tensor& weight, const Tensor& columns, const Tensor& rows,
                  const Tensor& out) {
  check_factors(weight, columns, rows);
  SQUINT_CHECK(out.shape() == weight.shape());
  SQUINT_CHECK(out.dtype() == DType::f32 || out.dtype() == DType::bf16);
  cx.backend.scale_weight(weight, columns, rows, out);
}

void restored_error(Context& cx, const QuantizedWeight& q, const Tensor& columns,
                    const Tensor& rows, const Tensor& weight, const Tensor& out) {
  check_factors(weight, columns, rows);
  SQUINT_CHECK(q.codes.shape() == weight.shape() && is_f32(out) && out.shape() == weight.shape());
  SQUINT_CHECK(q.scales.dim(0) == weight.dim(0) && weight.dim(1) % q.scales.dim(1) == 0);
  SQUINT_CHECK(q.zero_points.shape() == q.scales.shape());
  cx.backend.restored_error(q, columns, rows, weight, out);
}

void round_adaptively(Context& cx, const Tensor& weight, const AdaptiveRounding& how,
                      const QuantizationScheme& scheme, const QuantizedWeight& out) {
  SQUINT_CHECK(is_f32(weight));
  check_quantized(weight, scheme, out);
  const int64_t in = weight.dim(1);
  SQUINT_CHECK(is_f32(how.importance) && how.importance.numel() == in);
  SQUINT_CHECK(how.hessian.empty() == how.feedback.empty());
  if (!how.hessian.empty()) {
    SQUINT_CHECK(same_f32(how.hessian, how.feedback) && how.hessian.shape() == Shape({in, in}));
    SQUINT_CHECK(static_cast<int64_t>(how.order.size()) == in);
  }
  SQUINT_CHECK(how.rounds == 0 || !how.hessian.empty());
  cx.backend.round_adaptively(weight, how, scheme, out);
}

}  // namespace squint::ops
