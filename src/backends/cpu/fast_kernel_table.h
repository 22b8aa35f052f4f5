// fast_kernel_table.h: kernels of fast mode, one set per instruction set. What a set lacks, norms
// and the like, is the exact table's that stands beside it.
#pragma once

#include <span>
#include <string_view>

#include "backends/cpu/fast_kernel_args.h"
#include "backends/cpu/kernel_table.h"

namespace squint::cpu {

struct FastKernelTable {
  std::string_view name;
  CpuFeatures required;
  const KernelTable* exact;
  void (*to_bytes)(const ToBytesArgs&);
  void (*multiply)(const CodeProductArgs&);
  void (*attend)(const KeyBlockTask&);
  void (*merge)(const MergeTask&);
};

namespace scalar {
extern const FastKernelTable kFastTable;
}
namespace avx2 {
extern const FastKernelTable kFastTable;
}
namespace avxvnni {
extern const FastKernelTable kFastTable;
}
namespace avx512 {
extern const FastKernelTable kFastTable;
}

// As kernel_tables() and select_kernels().
std::span<const FastKernelTable* const> fast_kernel_tables();
const FastKernelTable* select_fast_kernels(const CpuFeatures& have, std::string_view forced);

}  // namespace squint::cpu
