// code_weight.h: weights as fast mode reads them: codes of four or eight bits in strips.
#pragma once

#include <memory>

#include "backends/cpu/fast_kernel_args.h"
#include "base/thread_pool.h"
#include "ops/backend.h"
#include "ops/linear_weight.h"

namespace squint::cpu {

// Memory for what is kept as long as the model: a matrix behind the other, so that all lie in huge
// pages where the system has them.
class WeightMemory {
 public:
  Tensor take(DType dtype, const Shape& shape);

 private:
  std::shared_ptr<Storage> slab_;
  int64_t used_ = 0;
};

class CodeWeight final : public PreparedWeight {
 public:
  // Whether a weight stored so has this form: groups of whole blocks of columns or one group a
  // row; 16-bit floats where eight bits do, by groups of 64. Others stay as in exact mode.
  static bool takes(const WeightForm& form);
  static WeightForm form_of(const LinearWeight& weight);

  // Reads the source once, in parallel; the source is not needed afterwards.
  static std::shared_ptr<const CodeWeight> make(const LinearWeight& weight, WeightMemory& memory,
                                                ThreadPool& threads);
  // Of what make allocates.
  static PreparedSize size_of(const WeightForm& form);

  const CodeStrips& strips() const { return strips_; }

 private:
  CodeWeight() = default;
  void allocate(const WeightForm& form, WeightMemory& memory);

  CodeStrips strips_{};
  Tensor codes_;
  Tensor scales_;
  Tensor zeros_;
};

}  // namespace squint::cpu
