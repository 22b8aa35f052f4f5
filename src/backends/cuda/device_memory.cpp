#include "backends/cuda/device_memory.h"

#include <fmt/format.h>

#include <algorithm>

#include "squint/error.h"

namespace squint::cuda {
namespace {

class DeviceMemory final : public Storage {
 public:
  DeviceMemory(void* data, int64_t bytes, int index)
      : Storage(data, bytes, {DeviceKind::cuda, index}) {}
  // Waits for what still uses it. An error was reported where it arose.
  ~DeviceMemory() override { cudaFree(data()); }
};

class OrderedMemory final : public Storage {
 public:
  OrderedMemory(void* data, int64_t bytes, int index, std::shared_ptr<CUstream_st> stream)
      : Storage(data, bytes, {DeviceKind::cuda, index}), stream_(std::move(stream)) {}
  ~OrderedMemory() override { cudaFreeAsync(data(), stream_.get()); }

 private:
  std::shared_ptr<CUstream_st> stream_;
};

// What was kept for the next; false where that failed too.
bool give_back_ordered_memory(int index) {
  cudaGetLastError();
  cudaMemPool_t pool = nullptr;
  return cudaDeviceSynchronize() == cudaSuccess &&
         cudaDeviceGetDefaultMemPool(&pool, index) == cudaSuccess &&
         cudaMemPoolTrimTo(pool, 0) == cudaSuccess;
}

[[noreturn]] void refuse(int64_t bytes) {
  cudaGetLastError();
  size_t free = 0;
  size_t total = 0;
  check(cudaMemGetInfo(&free, &total), "asking for the memory left");
  throw Error(ErrorCode::out_of_memory,
              fmt::format("the graphics card has no room for {:.1f} MB: {:.1f} of {:.1f} GB are "
                          "free; a smaller model, a shorter context, or --device cpu?",
                          static_cast<double>(bytes) / 1e6, static_cast<double>(free) / 1e9,
                          static_cast<double>(total) / 1e9));
}

}  // namespace

void check(cudaError_t result, std::string_view doing) {
  if (result == cudaSuccess) return;
  const bool memory = result == cudaErrorMemoryAllocation;
  cudaGetLastError();  // what can be forgotten is
  throw Error(memory ? ErrorCode::out_of_memory : ErrorCode::io,
              fmt::format("CUDA: {} ({}) while {}", cudaGetErrorString(result),
                          cudaGetErrorName(result), doing));
}

std::shared_ptr<Storage> allocate_on(int index, int64_t bytes) {
  check(cudaSetDevice(index), "choosing the card");
  void* data = nullptr;
  const auto size = static_cast<size_t>(std::max<int64_t>(bytes, 1));
  cudaError_t result = cudaMalloc(&data, size);
  if (result == cudaErrorMemoryAllocation && give_back_ordered_memory(index)) {
    result = cudaMalloc(&data, size);
  }
  if (result == cudaErrorMemoryAllocation) refuse(bytes);
  check(result, "allocating memory");
  return std::make_shared<DeviceMemory>(data, bytes, index);
}

void keep_ordered_memory(int index) {
  uint64_t kept = uint64_t{2} << 30;
  cudaMemPool_t pool = nullptr;
  check(cudaDeviceGetDefaultMemPool(&pool, index), "asking for memory");
  check(cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &kept), "asking for memory");
}

std::shared_ptr<Storage> allocate_in_order(int index, int64_t bytes, cudaStream_t stream) {
  return allocate_in_order(index, bytes, std::shared_ptr<CUstream_st>(stream, [](auto*) {}));
}

std::shared_ptr<Storage> allocate_in_order(int index, int64_t bytes,
                                           const std::shared_ptr<CUstream_st>& stream) {
  check(cudaSetDevice(index), "choosing the card");
  void* data = nullptr;
  const auto size = static_cast<size_t>(std::max<int64_t>(bytes, 1));
  const cudaError_t result = cudaMallocAsync(&data, size, stream.get());
  if (result == cudaErrorMemoryAllocation) refuse(bytes);
  check(result, "allocating memory");
  return std::make_shared<OrderedMemory>(data, bytes, index, stream);
}

}  // namespace squint::cuda
