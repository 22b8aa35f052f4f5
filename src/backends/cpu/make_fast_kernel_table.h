// make_fast_kernel_table.h: every kernel of fast mode for one instruction set; see
// make_kernel_table.h.
#pragma once

#include "backends/cpu/code_product_kernel.h"
#include "backends/cpu/fast_attention_kernel.h"
#include "backends/cpu/fast_kernel_table.h"

namespace squint::cpu {

template <class D>
constexpr FastKernelTable make_fast_kernel_table(std::string_view name, const CpuFeatures& required,
                                                 const KernelTable& exact) {
  using V = typename D::Lanes;
  return {.name = name,
          .required = required,
          .exact = &exact,
          .to_bytes = to_bytes<D>,
          .multiply = multiply_codes<D>,
          .attend = attend_block<V>,
          .merge = merge_parts<V>};
}

}  // namespace squint::cpu
