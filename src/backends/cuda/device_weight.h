// device_weight.h: the weight of a linear layer in a card's memory.
#pragma once

#include "backends/cuda/kernels.h"
#include "ops/backend.h"
#include "ops/linear_weight.h"

namespace squint::cuda {

class DeviceWeight final : public PreparedWeight {
 public:
  // From a dense bf16, f16 or f32 tensor [out, in] or a packed weight, on the host. The source is
  // not needed afterwards. A dense f32 tensor may also be on the card: it is shared. Throws
  // Error(unsupported) for groups that four columns can straddle.
  static std::shared_ptr<const DeviceWeight> make(const LinearWeight& weight, int device,
                                                  cudaStream_t stream);

  // Of what make allocates.
  static PreparedSize size_of(const WeightForm& form);

  const DeviceMatrix& matrix() const { return matrix_; }

 private:
  DeviceWeight() = default;
  // Rows of `row_bytes` on the host, padded with zeros on the card.
  void take_rows(const std::byte* rows, int64_t row_bytes, int device, cudaStream_t stream);
  void share_rows(const Tensor& source);
  void take_groups(const PackedLinear& packed, int device, cudaStream_t stream);

  DeviceMatrix matrix_{};
  std::shared_ptr<Storage> values_;
  std::shared_ptr<Storage> groups_;
};

}  // namespace squint::cuda
