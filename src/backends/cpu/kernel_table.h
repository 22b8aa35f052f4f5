// kernel_table.h: one set of kernels per instruction set, chosen when a backend is opened.
#pragma once

#include <span>
#include <string_view>

#include "backends/cpu/kernel_args.h"
#include "base/cpu_features.h"

namespace squint::cpu {

struct KernelTable {
  std::string_view name;
  CpuFeatures required;
  void (*gemm)(const GemmArgs&);
  void (*attention)(const AttentionTask&);
  void (*rms_norm)(const NormArgs&);
  void (*layer_norm)(const NormArgs&);
  void (*rotate)(const RotateArgs&);
  void (*rms_norm_gradient)(const NormGradientArgs&);
  void (*swiglu_gradient)(const SwigluGradientArgs&);
  void (*attention_gradient)(const AttentionGradientTask&);
  void (*pointwise)(const PointwiseArgs&);
  void (*add_second_moment)(const MomentArgs&);
  void (*add_cross_moment)(const MomentArgs&);
  void (*add_abs_sum)(const ColumnSumArgs&);
  float (*dot)(const float* a, const float* b, int64_t n);
  void (*quantize)(QuantizeArgs&);
  void (*quantization_error)(const QuantizeArgs&);
  void (*round_adaptively)(const RoundingArgs&);
};

namespace scalar {
extern const KernelTable kTable;
}
namespace avx2 {
extern const KernelTable kTable;
}
namespace avx512 {
extern const KernelTable kTable;
}

// Every table in this build, best first, as measured in benchmarks/results/.
std::span<const KernelTable* const> kernel_tables();

// The first table that `have` can run, or the one named `forced`. Null when there is no such table
// or this machine cannot run it.
const KernelTable* select_kernels(const CpuFeatures& have, std::string_view forced);

}  // namespace squint::cpu
