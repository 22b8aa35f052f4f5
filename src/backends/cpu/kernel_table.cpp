#include "backends/cpu/kernel_table.h"

#include <array>

namespace squint::cpu {

std::span<const KernelTable* const> kernel_tables() {
#if defined(__x86_64__)
  static constexpr std::array<const KernelTable*, 3> kTables = {&avx512::kTable, &avx2::kTable,
                                                                &scalar::kTable};
#else
  static constexpr std::array<const KernelTable*, 1> kTables = {&scalar::kTable};
#endif
  return kTables;
}

const KernelTable* select_kernels(const CpuFeatures& have, std::string_view forced) {
  for (const KernelTable* table : kernel_tables()) {
    if (have.include(table->required) && (forced.empty() || forced == table->name)) return table;
  }
  return nullptr;
}

}  // namespace squint::cpu
