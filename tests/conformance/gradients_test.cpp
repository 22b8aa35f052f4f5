// Gradients: those of the reference against differences of what the operators put out, those of the
// other backends against the reference.
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "conformance/guarded_tensor.h"
#include "conformance/on_every_backend.h"
#include "conformance/random_values.h"
#include "support/slopes.h"

namespace squint::test {
namespace {

constexpr float kEps = 1e-6f;

class Gradients : public OnEveryBackend {};
INSTANTIATE_TEST_SUITE_P(Kernels, Gradients, ::testing::ValuesIn(backends_here()), backend_name);

TEST_P(Gradients, RmsNorm) {
  for (const int64_t n : {1, 15, 16, 33, 128, 520}) {
    const Shape shape{5, n};
    const GuardedTensor x(random_values(shape.numel(), 80), shape);
    const GuardedTensor weight(random_values(n, 81), {n});
    const GuardedTensor d_out(random_values(shape.numel(), 82), shape);
    const Tensor expected = Tensor::on_host(DType::f32, shape);
    reference().rms_norm_gradient(*x, *weight, kEps, *d_out, expected);
    const GuardedTensor d_x(DType::f32, shape);
    backend().rms_norm_gradient(*x, *weight, kEps, *d_out, *d_x);
    ASSERT_TRUE(near(*d_x, expected, kRmsNormGradientTolerance)) << n;
    ASSERT_TRUE(d_x.guards_hold()) << n;
    const Tensor out = Tensor::on_host(DType::f32, shape);
    if (n > 1) {  // A norm of one value is its sign: no slope, and differences see eps.
      expect_slopes(*x, *d_out, expected, [&] {
        reference().rms_norm(*x, *weight, kEps, out);
        return out;
      });
    }
    backend().rms_norm_gradient(*x, *weight, kEps, *d_out, *d_out);  // in place
    ASSERT_TRUE(same_bits(*d_out, *d_x)) << n;
  }
}

TEST_P(Gradients, Swiglu) {
  for (const int64_t n : {1, 16, 33, 40000}) {
    const GuardedTensor gate(random_values(n, 83, 2), {n});
    const GuardedTensor up(random_values(n, 84), {n});
    const GuardedTensor d_out(random_values(n, 85), {n});
    const Tensor expected_gate = Tensor::on_host(DType::f32, {n});
    const Tensor expected_up = Tensor::on_host(DType::f32, {n});
    reference().swiglu_gradient(*gate, *up, *d_out, expected_gate, expected_up);
    const GuardedTensor d_gate(DType::f32, {n});
    const GuardedTensor d_up(DType::f32, {n});
    backend().swiglu_gradient(*gate, *up, *d_out, *d_gate, *d_up);
    ASSERT_TRUE(near(*d_gate, expected_gate, kSwigluTolerance)) << n;
    ASSERT_TRUE(near(*d_up, expected_up, kSwigluTolerance)) << n;
    ASSERT_TRUE(d_gate.guards_hold() && d_up.guards_hold()) << n;
    const Tensor out = Tensor::on_host(DType::f32, {n});
    const auto run = [&] {
      reference().swiglu(*gate, *up, out);
      return out;
    };
    expect_slopes(*gate, *d_out, expected_gate, run);
    expect_slopes(*up, *d_out, expected_up, run);
    backend().swiglu_gradient(*gate, *up, *d_out, *gate, *up);  // in place
    ASSERT_TRUE(same_bits(*gate, *d_gate) && same_bits(*up, *d_up)) << n;
  }
}

TEST_P(Gradients, Attention) {
  struct Case {
    int64_t tokens, kv_heads, group, head_dim;
  };
  for (const Case c :
       {Case{1, 1, 1, 20}, Case{7, 2, 3, 20}, Case{33, 3, 2, 64}, Case{17, 1, 4, 72}}) {
    const Shape queries{c.tokens, c.kv_heads * c.group, c.head_dim};
    const Shape keys{c.tokens, c.kv_heads, c.head_dim};
    const GuardedTensor query(random_values(queries.numel(), 86), queries);
    const GuardedTensor key(random_values(keys.numel(), 87), keys);
    const GuardedTensor value(random_values(keys.numel(), 88), keys);
    const GuardedTensor d_out(random_values(queries.numel(), 89),
                              {c.tokens, queries[1] * c.head_dim});
    AttentionGradientArgs args{.query = *query,
                               .key = *key,
                               .value = *value,
                               .scale = 1.0f / std::sqrt(static_cast<float>(c.head_dim)),
                               .d_out = *d_out,
                               .d_query = Tensor::on_host(DType::f32, queries),
                               .d_key = Tensor::on_host(DType::f32, keys),
                               .d_value = Tensor::on_host(DType::f32, keys)};
    reference().attention_gradient(args);
    const AttentionGradientArgs expected = args;
    const GuardedTensor d_query(DType::f32, queries);
    const GuardedTensor d_key(DType::f32, keys);
    const GuardedTensor d_value(DType::f32, keys);
    args.d_query = *d_query;
    args.d_key = *d_key;
    args.d_value = *d_value;
    backend().attention_gradient(args);
    ASSERT_TRUE(near(*d_query, expected.d_query, kAttentionGradientTolerance)) << c.tokens;
    ASSERT_TRUE(near(*d_key, expected.d_key, kAttentionGradientTolerance)) << c.tokens;
    ASSERT_TRUE(near(*d_value, expected.d_value, kAttentionGradientTolerance)) << c.tokens;
    ASSERT_TRUE(d_query.guards_hold() && d_key.guards_hold() && d_value.guards_hold());
    const Tensor out = Tensor::on_host(DType::f32, d_out->shape());
    const auto run = [&] {
      const int64_t bytes = reference().kv_bytes(c.kv_heads, c.head_dim, c.tokens);
      KvLayer kv =
          reference().make_kv(reference().allocate(bytes), c.kv_heads, c.head_dim, c.tokens);
      reference().append_kv(*key, *value, kv);
      reference().attention(
          {.query = *query, .kv = &kv, .first_position = 0, .causal = true, .scale = args.scale},
          out);
      return out;
    };
    expect_slopes(*query, *d_out, expected.d_query, run);
    expect_slopes(*key, *d_out, expected.d_key, run);
    expect_slopes(*value, *d_out, expected.d_value, run);
  }
}

}  // namespace
}  // namespace squint::test
