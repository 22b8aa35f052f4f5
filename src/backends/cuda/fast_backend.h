// fast_backend.h: one NVIDIA card in fast mode: products on tensor cores of values rounded to bf16,
// caches in bf16; sums, and all that flows between layers, in float32.
#pragma once

#include <optional>

#include "backends/cuda/cublas_library.h"
#include "backends/cuda/cuda_backend.h"
#include "backends/cuda/fast_kernels.h"
#include "backends/cuda/recorded_steps.h"
#include "ops/fused.h"

namespace squint::cuda {

// Rows of bf16 begin at 16 bytes.
int64_t bf16_stride(int64_t columns);
// A slice of tokens whose cache held `position` keys before them.
FastSlice view(const KvSlice& slice, int64_t position);

// Memory that grows to what was asked for at most.
class GrowingMemory {
 public:
  explicit GrowingMemory(int index) : index_(index) {}
  void* at_least(int64_t bytes);
  const void* now() const { return storage_ == nullptr ? nullptr : storage_->data(); }

 private:
  int index_;
  std::shared_ptr<Storage> storage_;
};

class FastBackend final : public CudaBackend, public FusedOperators {
 public:
  FastBackend(int index, BackendPtr host);

  bool is_exact() const override { return false; }
  FusedOperators* fused() override { return this; }
  LinearWeight prepare(const LinearWeight& weight) override;
  PreparedSize prepared_size(const WeightForm& form) const override;
  KvLayer make_kv(std::shared_ptr<Storage> storage, int64_t heads, int64_t head_dim,
                  int64_t capacity) override;
  int64_t kv_bytes(int64_t heads, int64_t head_dim, int64_t capacity) const override;
  int64_t attention_bytes(int64_t head_dim, int64_t length) const override;
  void linear(const Tensor& x, const LinearWeight& weight, const Tensor& out) override;
  void append_kv(const Tensor& keys, const Tensor& values, KvLayer& kv) override;
  void attention(const AttentionArgs& args, const Tensor& out) override;

  void norm_linears(const Tensor& x, const Tensor& norm, float eps,
                    std::span<const LinearWeight* const> weights,
                    std::span<const Tensor> outs) override;
  void norm_gated(const Tensor& x, const Tensor& norm, float eps, const LinearWeight& gate,
                  const LinearWeight& up, const Tensor& out) override;
  void linear_add(const Tensor& x, const LinearWeight& weight, const Tensor& out) override;
  void norm_gated_add(const Tensor& x, const Tensor& norm, float eps, const LinearWeight& gate,
                      const LinearWeight& up, const LinearWeight& down, const Tensor& inner,
                      const Tensor& out) override;
  void norm_rotate_append(const HeadsArgs& args, std::span<const KvSlice> slices) override;
  void attend(const Tensor& query, std::span<const KvSlice> slices, float scale,
              const Tensor& out) override;
  void attend_heads(const HeadsArgs& args, std::span<const KvSlice> slices, float scale,
                    const Tensor& out) override;
  void repeat(const RepeatedStep& step, const std::function<void()>& body) override;
  void layer_norm_linears(const Tensor& x, const Tensor& norm, const Tensor& norm_bias, float eps,
                          std::span<const LinearWeight* const> weights,
                          std::span<const Tensor> outs) override;
  void gelu_linear_add(const Tensor& x, const LinearWeight& weight, const Tensor& out) override;

 private:
  // What goes into products: x, its rms_norm, or, as matrices alone, its layer_norm or gelu.
  struct Input {
    Tensor x;
    Tensor norm;  // or empty
    float eps = 0;
    Tensor norm_bias = {};  // of layer_norm
    bool gelu = false;
  };
  using Weights = std::span<const LinearWeight* const>;

  Product choose(int64_t rows, Weights weights) const;
  void few_rows(const Input& input, Weights weights, std::span<const Tensor> outs,
                Epilogue epilogue);
  // By cuBLAS, outs in float32 or bf16. More than one weight share the rounding of x.
  void matrices(const Input& input, Weights weights, std::span<const Tensor> outs, bool add);
  void multiply(const CublasLibrary::Product& product, const LinearWeight& weight);
  Tensor temporary(const Shape& shape);
  FastAttention attention_of(const Tensor& query, float scale, bool causal,
                             const Tensor& out) const;
  // Slices of few tokens side by side, the others one by one.
  void launch_attention(FastAttention& args, std::span<const KvSlice> slices,
                        std::span<const int64_t> positions);

  CardLimits card_{};
  std::unique_ptr<CublasLibrary> cublas_;  // nothing where it is not installed
  std::shared_ptr<Storage> tickets_;
  GrowingMemory rounded_;               // x in bf16
  GrowingMemory unpacked_;              // some rows of a weight
  std::shared_ptr<Storage> temporary_;  // what is between two steps of one operator
  RecordedSteps steps_;
};

}  // namespace squint::cuda
