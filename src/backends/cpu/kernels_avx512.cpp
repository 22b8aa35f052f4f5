// kernels_avx512.cpp: built with -mavx512{f,bw,dq,vl}; reached only through its table.
#include "backends/cpu/attention_kernel.h"
#include "backends/cpu/gemm_kernel.h"
#include "backends/cpu/kernel_table.h"
#include "backends/cpu/lanes_avx512.h"
#include "backends/cpu/quantize_kernel.h"
#include "backends/cpu/row_kernels.h"

namespace squint::cpu::avx512 {

const KernelTable kTable = {
    .name = "avx512",
    .required = {.avx2 = true, .avx512 = true},
    .gemm = cpu::gemm<Lanes>,
    .attention = cpu::attention<Lanes>,
    .rms_norm = cpu::rms_norm<Lanes>,
    .layer_norm = cpu::layer_norm<Lanes>,
    .rotate = cpu::rotate<Lanes>,
    .pointwise = cpu::pointwise<Lanes>,
    .add_second_moment = cpu::add_second_moment<Lanes>,
    .add_abs_sum = cpu::add_abs_sum<Lanes>,
    .dot = cpu::dot<Lanes>,
    .quantize = cpu::quantize<Lanes>,
    .quantization_error = cpu::quantization_error<Lanes>,
};

}  // namespace squint::cpu::avx512
