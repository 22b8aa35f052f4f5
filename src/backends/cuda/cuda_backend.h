// cuda_backend.h: one NVIDIA card. Exact mode: float32 activations and sums, no TF32.
//
// Everything runs on one stream, in order. What the quantizer alone asks for is in
// quantizer_operators.cpp; gradients are computed on the host by the CPU backend
// (host_operators.cpp).
#pragma once

#include <cuda_runtime_api.h>

#include "backends/cuda/dense_algebra.h"
#include "backends/cuda/device_weight.h"
#include "backends/cuda/kernels.h"
#include "backends/cuda/staging_memory.h"
#include "ops/backend.h"
#include "squint/backend.h"

namespace squint::cuda {

// Four tokens of 64 heads of 128, in sixty-four splits, are 8.5 MB; fewer splits are taken where
// it is not enough.
constexpr int64_t kWorkspaceBytes = int64_t{16} << 20;

class CudaBackend : public Backend {
 public:
  // `host` computes what this backend does not. The card must exist.
  CudaBackend(int index, BackendPtr host);

  std::string_view name() const override { return "cuda"; }
  std::string_view kernels() const override { return kernels_; }
  Device device() const override { return {DeviceKind::cuda, index_}; }
  ThreadPool& host_threads() override { return host_->host_threads(); }
  std::shared_ptr<Storage> allocate(int64_t bytes) override;
  void copy(const Tensor& from, const Tensor& to) override;
  void synchronize() override;
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

  // On the host.
  void rms_norm_gradient(const Tensor& x, const Tensor& weight, float eps, const Tensor& d_out,
                         const Tensor& d_x) override;
  void swiglu_gradient(const Tensor& gate, const Tensor& up, const Tensor& d_out,
                       const Tensor& d_gate, const Tensor& d_up) override;
  void attention_gradient(const AttentionGradientArgs& args) override;

  // For calibration: on the card, or, where cuBLAS and cuSOLVER are missing, partly on the host.
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
  std::shared_ptr<Storage> allocate_staging(int64_t bytes) override;

 protected:
  // The card is chosen for each thread, so for each call. Launches report errors when asked.
  cudaStream_t stream() const;
  void launched(std::string_view what) const;
  int index() const { return index_; }
  // Products of float32 matrices may round what they multiply to TF32.
  void allow_tf32() { tf32_ = true; }
  // By cuBLAS, where the weight is float32 and rows are many; else false.
  bool multiply_float32(const Tensor& x, const LinearWeight& weight, const Tensor& out);
  void set_kernels(std::string kernels) { kernels_ = std::move(kernels); }
  LinearWeight prepare_as(const LinearWeight& weight, WeightLayout layout);
  // both [2, heads, capacity, stride]
  KvLayer make_kv_of(std::shared_ptr<Storage> storage, const Shape& both, DType dtype,
                     int64_t head_dim);
  // Of sums that are joined: kWorkspaceBytes.
  const Storage& workspace() const { return *workspace_; }

 private:
  void run_pointwise(Pointwise op, const Tensor& a, const Tensor& b, const Tensor& out);

  DenseAlgebra* algebra();  // or null, where it is not installed
  // out [n, n] += xᵀ y
  void add_product(const Tensor& x, const Tensor& y, const Tensor& out);
  template <class Launch>
  bool all_finite(const Launch& launch);
  Tensor room(const Shape& shape, DType dtype);  // for the length of an operator
  Tensor on_card(const Tensor& tensor);          // itself where it is there, else a copy

  Tensor fetch(const Tensor& tensor);  // itself where it is on the host, else a copy
  void store(const Tensor& host, const Tensor& tensor);  // nothing where they are the same

  int index_;
  std::string kernels_;
  BackendPtr host_;
  std::shared_ptr<CUstream_st> stream_;  // kept by memory in its order, too
  bool tf32_ = false;
  bool algebra_sought_ = false;
  std::unique_ptr<DenseAlgebra> algebra_;
  Tensor mse_errors_;                   // on the card, when first needed
  std::shared_ptr<Storage> workspace_;  // of attention over long caches
  std::unique_ptr<StagingMemory> staging_;
};

}  // namespace squint::cuda
