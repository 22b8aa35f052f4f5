// device_weight.h: the weight of a linear layer in a card's memory.
#pragma once

#include "backends/cuda/fast_kernels.h"
#include "base/check.h"
#include "ops/backend.h"
#include "ops/linear_weight.h"

namespace squint::cuda {

// tiles: integers of four bits in the layout of fast kernels, where their groups allow it.
enum class WeightLayout : uint8_t { rows, tiles };

class DeviceWeight final : public PreparedWeight {
 public:
  // From a dense bf16, f16 or f32 tensor [out, in] or a packed weight, on the host. The source is
  // not needed afterwards. A dense f32 tensor may also be on the card: it is shared. Throws
  // Error(unsupported) for groups that four columns can straddle.
  static std::shared_ptr<const DeviceWeight> make(const LinearWeight& weight, WeightLayout layout,
                                                  int device, cudaStream_t stream);

  // Of what make allocates.
  static PreparedSize size_of(const WeightForm& form, WeightLayout layout);

  // What Backend::prepare made of a weight.
  static const DeviceWeight& of(const LinearWeight& weight);

  // In rows: not of one that is tiled.
  const DeviceMatrix& matrix() const {
    SQUINT_CHECK(!tiled_);
    return matrix_;
  }
  FastMatrix fast() const { return {matrix_, tiled_, group_shift_}; }

 private:
  DeviceWeight() = default;
  // Rows of `row_bytes` on the host, padded with zeros on the card.
  void take_rows(const std::byte* rows, int64_t row_bytes, int device, cudaStream_t stream);
  bool share_rows(const Tensor& source);
  void take_groups(const PackedLinear& packed, int device, cudaStream_t stream);

  void tile(int device, cudaStream_t stream);

  DeviceMatrix matrix_{};
  bool tiled_ = false;
  int32_t group_shift_ = -1;
  std::shared_ptr<Storage> values_;
  std::shared_ptr<Storage> groups_;
};

}  // namespace squint::cuda
