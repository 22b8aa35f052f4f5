// copies.h: tensors from one side to the other, where the caller does not ask which side they are
// on.
#pragma once

#include "core/tensor.h"
#include "ops/context.h"

namespace squint {

// A copy on the host, which has arrived when this returns.
Tensor copy_to_host(Context& cx, const Tensor& tensor);
// The tensor itself where it is on the host, else a copy.
Tensor on_host(Context& cx, const Tensor& tensor);
// The tensor itself where it is on the backend's device, else a copy.
Tensor on_device(Context& cx, const Tensor& tensor);
// A copy in memory of its own on the backend's device.
Tensor copy_to_device(Context& cx, const Tensor& tensor);
// float32, in memory of its own on the backend's device.
Tensor zeros_on_device(Backend& backend, const Shape& shape);

}  // namespace squint
