// fused_reference.h: the reference backend with fused operators made of its plain ones, and how
// often they ran.
#pragma once

#include <array>

#include "backends/reference/reference_backend.h"
#include "ops/arena.h"
#include "ops/fused.h"

namespace squint::test {

class FusedReference final : public reference::ReferenceBackend, public FusedOperators {
 public:
  using ReferenceBackend::ReferenceBackend;
  FusedOperators* fused() override { return this; }
  int calls() const { return calls_; }

  void norm_linears(const Tensor& x, const Tensor& norm, float eps,
                    std::span<const LinearWeight* const> weights,
                    std::span<const Tensor> outs) override {
    ++calls_;
    const Tensor normed = Tensor::on_host(DType::f32, x.shape());
    rms_norm(x, norm, eps, normed);
    for (size_t i = 0; i < weights.size(); ++i) linear(normed, *weights[i], outs[i]);
  }

  void norm_gated(const Tensor& x, const Tensor& norm, float eps, const LinearWeight& gate,
                  const LinearWeight& up, const Tensor& out) override {
    const Tensor upper = Tensor::on_host(DType::f32, out.shape());
    norm_linears(x, norm, eps, std::array{&gate, &up}, std::array{out, upper});
    swiglu(out, upper, out);
  }

  void linear_add(const Tensor& x, const LinearWeight& weight, const Tensor& out) override {
    ++calls_;
    const Tensor product = Tensor::on_host(DType::f32, out.shape());
    linear(x, weight, product);
    add(product, out);
  }

  void layer_norm_linears(const Tensor& x, const Tensor& norm, const Tensor& norm_bias, float eps,
                          std::span<const LinearWeight* const> weights,
                          std::span<const Tensor> outs) override {
    ++calls_;
    const Tensor normed = Tensor::on_host(DType::f32, x.shape());
    layer_norm(x, norm, norm_bias, eps, normed);
    for (size_t i = 0; i < weights.size(); ++i) linear(normed, *weights[i], outs[i]);
  }

  void gelu_linear_add(const Tensor& x, const LinearWeight& weight, const Tensor& out) override {
    gelu(x, GeluKind::tanh, x);
    linear_add(x, weight, out);
  }

  void norm_rotate_append(const HeadsArgs& args, std::span<const KvSlice> slices) override {
    ++calls_;
    rms_norm(args.query, args.query_norm, args.eps, args.query);
    rms_norm(args.key, args.key_norm, args.eps, args.key);
    rotate(args.cosine, args.sine, args.query);
    rotate(args.cosine, args.sine, args.key);
    for (const KvSlice& s : slices) {
      append_kv(args.key.rows(s.begin, s.count), args.value.rows(s.begin, s.count), *s.kv);
    }
  }

  void attend(const Tensor& query, std::span<const KvSlice> slices, float scale,
              const Tensor& out) override {
    ++calls_;
    for (const KvSlice& s : slices) {
      attention({.query = query.rows(s.begin, s.count),
                 .kv = s.kv,
                 .first_position = s.kv->length - s.count,
                 .causal = true,
                 .scale = scale},
                out.rows(s.begin, s.count));
    }
  }

 private:
  int calls_ = 0;
};

}  // namespace squint::test
