// recorded_steps.h: steps of decoding as CUDA graphs: recorded the second time they are made, from
// then on launched as a whole. The first time kernels are loaded and memory grows.
//
// A graph knows its kernels' arguments. What changes from token to token lies in memory instead:
// tensors, where they always were, and the slices of the caches, in a table of the graph's own. So
// one graph serves whatever requests come, as long as caches are cut alike (decode_reach).
#pragma once

#include <cuda_runtime_api.h>

#include <functional>
#include <list>
#include <memory>
#include <span>
#include <vector>

#include "backends/cuda/fast_kernels.h"
#include "ops/backend.h"
#include "ops/fused.h"

namespace squint::cuda {

class RecordedSteps {
 public:
  explicit RecordedSteps(int index);
  ~RecordedSteps();

  // See Backend::repeat. `memory`: where what the backend keeps for itself lies now.
  void repeat(const RepeatedStep& step, std::span<const void* const> memory, cudaStream_t stream,
              const std::function<void()>& body);
  // Weights came or went.
  void forget();

  // While a step is recorded: where kernels find these slices. Null pointers otherwise.
  RecordedSlices find(std::span<const KvSlice> slices);
  // What is computed now cannot be recorded.
  void refuse() { refused_ = true; }

 private:
  struct Step;
  Step& known(const RepeatedStep& step, std::span<const void* const> memory);
  void record(Step& known, const RepeatedStep& step, cudaStream_t stream,
              const std::function<void()>& body);
  void launch(Step& known, const RepeatedStep& step, std::span<const int64_t> lengths,
              cudaStream_t stream);

  int index_;
  std::list<Step> steps_;  // the last used first
  const RepeatedStep* recording_ = nullptr;
  Step* recorded_ = nullptr;
  bool refused_ = false;
};

}  // namespace squint::cuda
