#include "backends/cpu/fast_kernel_table.h"

#include <array>

namespace squint::cpu {

std::span<const FastKernelTable* const> fast_kernel_tables() {
#if defined(__x86_64__)
  static constexpr std::array<const FastKernelTable*, 4> kTables = {
      &avx512::kFastTable, &avxvnni::kFastTable, &avx2::kFastTable, &scalar::kFastTable};
#else
  static constexpr std::array<const FastKernelTable*, 1> kTables = {&scalar::kFastTable};
#endif
  return kTables;
}

const FastKernelTable* select_fast_kernels(const CpuFeatures& have, std::string_view forced) {
  for (const FastKernelTable* table : fast_kernel_tables()) {
    if (have.include(table->required) && (forced.empty() || forced == table->name)) return table;
  }
  return nullptr;
}

}  // namespace squint::cpu
