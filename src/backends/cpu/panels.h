// panels.h: weights re-laid for the CPU kernels: 16 output features side by side.
#pragma once

#include <vector>

#include "backends/cpu/kernel_args.h"
#include "base/thread_pool.h"
#include "ops/backend.h"
#include "ops/linear_weight.h"

namespace squint::cpu {

class PanelWeight final : public PreparedWeight {
 public:
  // From a dense bf16, f16 or f32 tensor [out, in] or a packed weight. Reads the source once, in
  // parallel; the source is not needed afterwards.
  static std::shared_ptr<const PanelWeight> make(const LinearWeight& weight, ThreadPool& threads);

  // Of what make allocates.
  static PreparedSize size_of(const WeightForm& form);

  const Panels& panels() const { return panels_; }
  int64_t bytes() const;  // held

 private:
  PanelWeight() = default;

  Panels panels_{};
  Tensor values_;
  Tensor scales_;
  Tensor zeros_;
};

}  // namespace squint::cpu
