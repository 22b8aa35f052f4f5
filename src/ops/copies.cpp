#include "ops/copies.h"

#include "ops/backend.h"

namespace squint {
namespace {

Tensor copied(Backend& backend, const Tensor& tensor) {
  Tensor out(backend.allocate(tensor.bytes()), 0, tensor.dtype(), tensor.shape());
  backend.copy(tensor, out);
  return out;
}

}  // namespace

Tensor copy_to_host(Context& cx, const Tensor& tensor) {
  Tensor host = Tensor::on_host(tensor.dtype(), tensor.shape());
  cx.backend.copy(tensor, host);
  cx.backend.synchronize();
  return host;
}

Tensor on_host(Context& cx, const Tensor& tensor) {
  return tensor.device().kind == DeviceKind::cpu ? tensor : copy_to_host(cx, tensor);
}

Tensor copy_to_device(Context& cx, const Tensor& tensor) { return copied(cx.backend, tensor); }

Tensor on_device(Context& cx, const Tensor& tensor) {
  return tensor.device() == cx.backend.device() ? tensor : copy_to_device(cx, tensor);
}

Tensor zeros_on_device(Backend& backend, const Shape& shape) {
  const int64_t bytes = shape.numel() * byte_size(DType::f32);
  Tensor out(backend.allocate(bytes), 0, DType::f32, shape);
  backend.clear(out);
  return out;
}

}  // namespace squint
