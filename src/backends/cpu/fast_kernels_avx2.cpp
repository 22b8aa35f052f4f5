#include "backends/cpu/dots_avx2.h"
#include "backends/cpu/make_fast_kernel_table.h"

namespace squint::cpu::avx2 {

constinit const FastKernelTable kFastTable =
    make_fast_kernel_table<Dots>("avx2", {.avx2 = true}, avx2::kTable);

}  // namespace squint::cpu::avx2
