// host_work.h: what the host computes for a device: on whose threads, and in which memory.
#pragma once

#include "core/tensor.h"
#include "ops/backend.h"

namespace squint {

class HostWork {
 public:
  // On the calling thread alone, in ordinary memory.
  HostWork() = default;
  // On the backend's threads, so not from one of them, in memory whose copies to it do not wait.
  explicit HostWork(Backend& backend) : backend_(&backend) {}

  // Uninitialised.
  Tensor tensor(DType dtype, const Shape& shape) const {
    if (backend_ == nullptr) return Tensor::on_host(dtype, shape);
    return Tensor(backend_->allocate_staging(shape.numel() * byte_size(dtype)), 0, dtype, shape);
  }

  // body(begin, end) with ranges that cover 0..count-1, `grain` or more in each.
  template <class Body>
  void each(int64_t count, int64_t grain, const Body& body) const {
    if (backend_ == nullptr) return body(int64_t{0}, count);
    backend_->host_threads().parallel_for(
        count, grain, [&](int64_t begin, int64_t end, int) { body(begin, end); });
  }

 private:
  Backend* backend_ = nullptr;
};

}  // namespace squint
