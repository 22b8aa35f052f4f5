// make_kernel_table.h: every kernel for one vector type. Included by the kernels_*.cpp files alone,
// each built with the flags of its instruction set and reached only through the table it makes.
#pragma once

#include "backends/cpu/attention_kernel.h"
#include "backends/cpu/gemm_kernel.h"
#include "backends/cpu/gradient_kernel.h"
#include "backends/cpu/kernel_table.h"
#include "backends/cpu/quantize_kernel.h"
#include "backends/cpu/rounding_kernel.h"
#include "backends/cpu/row_kernels.h"

namespace squint::cpu {

template <class V>
constexpr KernelTable make_kernel_table(std::string_view name, const CpuFeatures& required) {
  return {.name = name,
          .required = required,
          .gemm = gemm<V>,
          .attention = attention<V>,
          .rms_norm = rms_norm<V>,
          .layer_norm = layer_norm<V>,
          .rotate = rotate<V>,
          .rms_norm_gradient = rms_norm_gradient<V>,
          .swiglu_gradient = swiglu_gradient<V>,
          .attention_gradient = attention_gradient<V>,
          .pointwise = pointwise<V>,
          .add_second_moment = add_second_moment<V>,
          .add_cross_moment = add_cross_moment<V>,
          .add_abs_sum = add_abs_sum<V>,
          .dot = dot<V>,
          .quantize = quantize<V>,
          .quantization_error = quantization_error<V>,
          .round_adaptively = round_adaptively<V>};
}

}  // namespace squint::cpu
