#include "backends/cpu/dots_avx512.h"
#include "backends/cpu/make_fast_kernel_table.h"

namespace squint::cpu::avx512 {

constinit const FastKernelTable kFastTable = make_fast_kernel_table<Dots>(
    "avx512", {.avx2 = true, .avx512 = true, .avx512_vnni = true}, avx512::kTable);

}  // namespace squint::cpu::avx512
