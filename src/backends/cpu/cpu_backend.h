// cpu_backend.h: threads and vector kernels over the operators.
#pragma once

#include <vector>

#include "backends/cpu/kernel_table.h"
#include "base/checked_math.h"
#include "ops/backend.h"

namespace squint::cpu {

// Elements from a value of the cache to the next.
inline int64_t value_stride(int64_t head_dim) { return round_up(head_dim, kLanes); }

class CpuBackend : public Backend {
 public:
  CpuBackend(const KernelTable& kernels, int threads);

  std::string_view name() const override { return "cpu"; }
  std::string_view kernels() const override { return kernels_.name; }
  Device device() const override { return {}; }
  ThreadPool& host_threads() override { return pool_; }
  std::shared_ptr<Storage> allocate(int64_t bytes) override { return allocate_host(bytes); }
  void copy(const Tensor& from, const Tensor& to) override;
  void synchronize() override {}
  LinearWeight prepare(const LinearWeight& weight) override;
  PreparedSize prepared_size(const WeightForm& form) const override;
  KvLayer make_kv(std::shared_ptr<Storage> storage, int64_t heads, int64_t head_dim,
                  int64_t capacity) override;
  int64_t kv_bytes(int64_t heads, int64_t head_dim, int64_t capacity) const override;
  int64_t attention_bytes(int64_t head_dim, int64_t length) const override;

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

 protected:
  // Of keys, in tiles of sixteen positions, and values, in rows of value_stride.
  virtual DType cache_dtype() const { return DType::f32; }
  const KernelTable& table() const { return kernels_; }
  ThreadPool& pool() { return pool_; }
  const ThreadPool& pool() const { return pool_; }

 private:
  void pointwise(Pointwise op, const Tensor& a, const Tensor& b, const Tensor& out);
  void add_moments(const Tensor& x, const Tensor& y, const Tensor& out,
                   void (*kernel)(const MomentArgs&));

  const KernelTable& kernels_;
  ThreadPool pool_;
  std::vector<std::vector<float>> attention_scratch_;  // one per worker, grown as needed
  std::vector<float> mse_errors_;                      // filled when first needed
};

}  // namespace squint::cpu
