#include "quantize/moments.h"

#include <algorithm>

namespace squint::quantize {

void multiply_in_parts(Context& cx, const Tensor& x, const Tensor& m,
                       const std::function<void(int64_t first, const Tensor& columns)>& take) {
  const bool shared = m.device().kind != DeviceKind::cpu;
  const int64_t step = shared ? m.dim(0) : kMomentColumns;
  for (int64_t first = 0; first < m.dim(0); first += step) {
    const Arena::Scope scope(cx.scratch);
    const int64_t count = std::min(step, m.dim(0) - first);
    LinearWeight part{.out_features = count, .in_features = m.dim(1)};
    part.weight = m.rows(first, count);
    const Tensor columns = cx.scratch.tensor({x.dim(0), count});
    ops::linear(cx, x, cx.backend.prepare(part), columns);
    take(first, columns);
  }
}

}  // namespace squint::quantize
