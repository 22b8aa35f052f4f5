// fast_backend.h: the CPU in fast mode: products of bytes and weights of four or eight bits, caches
// in bf16; what flows between layers stays float32. docs/cpu.md says how and why.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "backends/cpu/code_weight.h"
#include "backends/cpu/cpu_backend.h"
#include "backends/cpu/fast_kernel_table.h"
#include "ops/fused.h"

namespace squint::cpu {

// Bytes of one plane of rows, at most; a plane has a quarter more in scales, and there are two.
inline constexpr int64_t kMostByteRowCodes = int64_t{1} << 20;

class FastBackend final : public CpuBackend, public FusedOperators {
 public:
  FastBackend(const FastKernelTable& kernels, int threads);

  std::string_view kernels() const override { return fast_.name; }
  bool is_exact() const override { return false; }
  // Weights are read once, and there is time to multiply while they come.
  int64_t rows_for_the_price_of_one() const override { return 4; }
  FusedOperators* fused() override { return this; }
  LinearWeight prepare(const LinearWeight& weight) override;
  PreparedSize prepared_size(const WeightForm& form) const override;
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
  void norm_rotate_append(const HeadsArgs& args, std::span<const KvSlice> slices) override;
  void attend(const Tensor& query, std::span<const KvSlice> slices, float scale,
              const Tensor& out) override;
  void layer_norm_linears(const Tensor& x, const Tensor& norm, const Tensor& norm_bias, float eps,
                          std::span<const LinearWeight* const> weights,
                          std::span<const Tensor> outs) override;
  void gelu_linear_add(const Tensor& x, const LinearWeight& weight, const Tensor& out) override;

 private:
  DType cache_dtype() const override { return DType::bf16; }

  using Weights = std::span<const LinearWeight* const>;

  // What is rounded to bytes: x, or its rms_norm, layer_norm or gelu.
  struct Input {
    Tensor x;
    Tensor norm = {};
    Tensor norm_bias = {};  // of layer_norm
    float eps = 0;
    bool gelu = false;
  };
  // One product of several with the same x.
  struct Product {
    const CodeStrips* weight = nullptr;
    const CodeStrips* up = nullptr;
    const float* bias = nullptr;
    float* out = nullptr;
    bool add = false;
  };

  struct Worker {
    std::vector<float> row;     // normed
    std::vector<float> floats;  // of attention
    std::vector<int64_t> visible;
  };
  struct KeyBlock;   // of a slice, for some of its queries
  struct Attending;  // a call
  struct Scratch;    // a worker's

  void multiply(const Input& input, std::span<const Product> products);
  ByteRows to_bytes(const Input& input, int64_t first, int64_t rows);
  void linears(const Input& input, Weights weights, std::span<const Tensor> outs);
  Scratch scratch(int worker, int64_t head_dim, int64_t stride);
  void attend_block(const Attending& a, const KeyBlock& block, Scratch& s,
                    const AttentionPart& out);
  void attend_few(const Attending& a, std::span<const KvSlice> slices,
                  std::span<const int64_t> positions);
  void merge_blocks(const Attending& a, std::span<const KeyBlock> blocks,
                    std::span<const int64_t> firsts,
                    const std::function<AttentionPart(int64_t)>& part_of);
  static void store_rows(const Attending& a, const KeyBlock& b, const AttentionPart& total,
                         int64_t rows);
  void attend_many(const Attending& a, const KvSlice& slice, int64_t position);
  void attend_slices(const Attending& a, std::span<const KvSlice> slices,
                     std::span<const int64_t> positions);

  const FastKernelTable& fast_;
  WeightMemory memory_;
  std::vector<Worker> workers_;
  std::vector<std::byte> byte_rows_;
  std::vector<float> parts_;  // of attention, by slice, head and block
};

}  // namespace squint::cpu
