#include "backends/cpu/lanes_scalar.h"
#include "backends/cpu/make_kernel_table.h"

namespace squint::cpu::scalar {

constinit const KernelTable kTable = make_kernel_table<Lanes>("scalar", {});

}  // namespace squint::cpu::scalar
