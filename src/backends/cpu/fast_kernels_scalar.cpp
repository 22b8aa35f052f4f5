#include "backends/cpu/dots_scalar.h"
#include "backends/cpu/make_fast_kernel_table.h"

namespace squint::cpu::scalar {

constinit const FastKernelTable kFastTable =
    make_fast_kernel_table<Dots>("scalar", {}, scalar::kTable);

}  // namespace squint::cpu::scalar
