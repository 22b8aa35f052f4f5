// host_side.h: lets tests hand tensors on the host to a backend whose memory is elsewhere.
//
// Around every operator whole storages travel there and back: a tensor keeps its place between its
// guard bytes, so that on the device, too, a write outside changes the guard and alignment is what
// the test chose.
#pragma once

#include "ops/backend.h"
#include "ops/fused.h"
#include "squint/backend.h"

namespace squint::test {

class HostSide final : public Backend, public FusedOperators {
 public:
  explicit HostSide(BackendPtr device) : device_(std::move(device)) {}

  std::string_view name() const override { return device_->name(); }
  std::string_view kernels() const override { return device_->kernels(); }
  Device device() const override { return {}; }
  ThreadPool& host_threads() override { return device_->host_threads(); }
  std::shared_ptr<Storage> allocate(int64_t bytes) override { return allocate_host(bytes); }
  void copy(const Tensor& from, const Tensor& to) override;
  void synchronize() override { device_->synchronize(); }
  LinearWeight prepare(const LinearWeight& weight) override;
  PreparedSize prepared_size(const WeightForm& form) const override {
    return device_->prepared_size(form);
  }
  // The cache stays on the device, where it begins with what the test's memory held.
  KvLayer make_kv(std::shared_ptr<Storage> storage, int64_t heads, int64_t head_dim,
                  int64_t capacity) override;
  int64_t kv_bytes(int64_t heads, int64_t head_dim, int64_t capacity) const override {
    return device_->kv_bytes(heads, head_dim, capacity);
  }
  int64_t attention_bytes(int64_t head_dim, int64_t length) const override {
    return device_->attention_bytes(head_dim, length);
  }

  FusedOperators* fused() override { return device_->fused() == nullptr ? nullptr : this; }

  void linear(const Tensor& x, const LinearWeight& weight, const Tensor& out) override;
  void rms_norm(const Tensor& x, const Tensor& weight, float eps, const Tensor& out) override;
  void layer_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, float eps,
                  const Tensor& out) override;
  void rotate(const Tensor& cosine, const Tensor& sine, const Tensor& x) override;
  void append_kv(const Tensor& keys, const Tensor& values, KvLayer& kv) override;
  void attention(const AttentionArgs& args, const Tensor& out) override;
  void swiglu(const Tensor& gate, const Tensor& up, const Tensor& out) override;
  void gelu(const Tensor& x, GeluKind kind, const Tensor& out) override;
  void add(const Tensor& x, const Tensor& out) override;
  void scale_rows(const Tensor& x, const Tensor& factor, const Tensor& out) override;
  void argmax(const Tensor& x, int64_t count, const Tensor& out) override;
  void rms_norm_gradient(const Tensor& x, const Tensor& weight, float eps, const Tensor& d_out,
                         const Tensor& d_x) override;
  void swiglu_gradient(const Tensor& gate, const Tensor& up, const Tensor& d_out,
                       const Tensor& d_gate, const Tensor& d_up) override;
  void attention_gradient(const AttentionGradientArgs& args) override;
  void add_second_moment(const Tensor& x, const Tensor& out) override;
  void add_cross_moment(const Tensor& x, const Tensor& y, const Tensor& out) override;
  void add_abs_sum(const Tensor& x, const Tensor& out) override;
  double dot(const Tensor& a, const Tensor& b, int64_t first) override;
  void clear(const Tensor& x) override;
  void combine(float a, const Tensor& x, float b, const Tensor& out) override;
  bool finish_moment(const Tensor& m, double weight) override;
  bool divide_columns(const Tensor& m, double divisor, const Tensor& factors) override;
  void diagonal(const Tensor& m, const Tensor& out) override;
  void add_to_diagonal(const Tensor& m, double relative, double absolute) override;
  void reorder(const Tensor& m, std::span<const int32_t> order, const Tensor& out) override;
  void make_feedback(const Tensor& factor) override;
  bool factor_cholesky(const Tensor& m, const Between& between) override;
  void solve_cholesky(const Tensor& factor, const Tensor& x, const Between& between) override;
  void quantize_weight(const Tensor& weight, const QuantizationScheme& scheme, Observer observer,
                       const QuantizedWeight& out) override;
  void quantization_error(const Tensor& weight, const Tensor& smooth,
                          const QuantizationScheme& scheme, const Tensor& out) override;
  void scale_weight(const Tensor& weight, const Tensor& columns, const Tensor& rows,
                    const Tensor& out) override;
  void restored_error(const QuantizedWeight& q, const Tensor& columns, const Tensor& rows,
                      const Tensor& weight, const Tensor& out) override;
  void round_adaptively(const Tensor& weight, const AdaptiveRounding& how,
                        const QuantizationScheme& scheme, const QuantizedWeight& out) override;

  void norm_linears(const Tensor& x, const Tensor& norm, float eps,
                    std::span<const LinearWeight* const> weights,
                    std::span<const Tensor> outs) override;
  void norm_gated(const Tensor& x, const Tensor& norm, float eps, const LinearWeight& gate,
                  const LinearWeight& up, const Tensor& out) override;
  void norm_gated_add(const Tensor& x, const Tensor& norm, float eps, const LinearWeight& gate,
                      const LinearWeight& up, const LinearWeight& down, const Tensor& inner,
                      const Tensor& out) override;
  void linear_add(const Tensor& x, const LinearWeight& weight, const Tensor& out) override;
  void layer_norm_linears(const Tensor& x, const Tensor& norm, const Tensor& norm_bias, float eps,
                          std::span<const LinearWeight* const> weights,
                          std::span<const Tensor> outs) override;
  void gelu_linear_add(const Tensor& x, const LinearWeight& weight, const Tensor& out) override;
  void norm_rotate_append(const HeadsArgs& args, std::span<const KvSlice> slices) override;
  void attend(const Tensor& query, std::span<const KvSlice> slices, float scale,
              const Tensor& out) override;
  void attend_heads(const HeadsArgs& args, std::span<const KvSlice> slices, float scale,
                    const Tensor& out) override;

  // For what is about tensors that stay where they are.
  Backend& behind() { return *device_; }

 private:
  BackendPtr device_;
};

}  // namespace squint::test
