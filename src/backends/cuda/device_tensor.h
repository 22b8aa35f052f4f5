// device_tensor.h: what of a tensor is handed to kernels.
#pragma once

#include "base/check.h"
#include "core/tensor.h"

namespace squint::cuda {

inline bool on_host(const Tensor& x) { return x.device().kind == DeviceKind::cpu; }

// On the card: a host pointer handed to a kernel would end the process's use of the card.
inline float* floats(const Tensor& x) {
  SQUINT_CHECK(!on_host(x) && x.dtype() == DType::f32);
  return reinterpret_cast<float*>(x.raw());
}

}  // namespace squint::cuda
