// staging_memory.h: pages of the host that a card reads by itself, kept for the next who asks.
#pragma once

#include <cuda_runtime_api.h>

#include <memory>

#include "core/tensor.h"

namespace squint::cuda {

class StagingMemory {
 public:
  // Copies from its memory are on `stream`.
  explicit StagingMemory(std::shared_ptr<CUstream_st> stream);

  // At least `bytes`. Ordinary memory where there is too much of it or too little to matter.
  std::shared_ptr<Storage> allocate(int64_t bytes);

 private:
  struct Pool;
  class Part;
  std::shared_ptr<Pool> pool_;
};

}  // namespace squint::cuda
