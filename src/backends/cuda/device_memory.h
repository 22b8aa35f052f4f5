// device_memory.h: memory of a card, and what its runtime says when something goes wrong.
#pragma once

#include <cuda_runtime_api.h>

#include <memory>
#include <string_view>

#include "core/tensor.h"

namespace squint::cuda {

// Throws Error(out_of_memory) where memory ran out, Error(io) where the card or its driver failed.
// `doing` completes "CUDA: ... while".
void check(cudaError_t result, std::string_view doing);

// At least `bytes`, uninitialised, 256-byte aligned, on the card in use. Throws
// Error(out_of_memory) that says what there is.
std::shared_ptr<Storage> allocate_on(int index, int64_t bytes);

// The same for what lives shortly: in the order of `stream`, on which all use of it must be, and
// from memory that is kept for the next.
void keep_ordered_memory(int index);
std::shared_ptr<Storage> allocate_in_order(int index, int64_t bytes, cudaStream_t stream);
// May outlive whoever made the stream.
std::shared_ptr<Storage> allocate_in_order(int index, int64_t bytes,
                                           const std::shared_ptr<CUstream_st>& stream);

}  // namespace squint::cuda
