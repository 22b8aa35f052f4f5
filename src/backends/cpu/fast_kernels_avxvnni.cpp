#include "backends/cpu/dots_avxvnni.h"
#include "backends/cpu/make_fast_kernel_table.h"

namespace squint::cpu::avxvnni {

constinit const FastKernelTable kFastTable =
    make_fast_kernel_table<Dots>("avxvnni", {.avx2 = true, .avx_vnni = true}, avx2::kTable);

}  // namespace squint::cpu::avxvnni
