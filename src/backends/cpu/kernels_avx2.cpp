#include "backends/cpu/lanes_avx2.h"
#include "backends/cpu/make_kernel_table.h"

namespace squint::cpu::avx2 {

constinit const KernelTable kTable = make_kernel_table<Lanes>("avx2", {.avx2 = true});

}  // namespace squint::cpu::avx2
