#include "backends/cpu/lanes_avx512.h"
#include "backends/cpu/make_kernel_table.h"

namespace squint::cpu::avx512 {

constinit const KernelTable kTable =
    make_kernel_table<Lanes>("avx512", {.avx2 = true, .avx512 = true});

}  // namespace squint::cpu::avx512
