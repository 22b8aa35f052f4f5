#include "backends/cuda/open_cuda.h"

#include <fmt/format.h>

#include "backends/cuda/cuda_backend.h"
#include "backends/cuda/device_memory.h"
#include "backends/cuda/fast_backend.h"
#include "squint/error.h"

namespace squint::cuda {
namespace {

std::string version(int number) { return fmt::format("{}.{}", number / 1000, number % 1000 / 10); }

[[noreturn]] void refuse(const std::string& why) {
  throw Error(ErrorCode::unsupported, fmt::format("device \"cuda\": {}; or use --device cpu", why));
}

// How many cards there are. Without any, says why not.
int cards_or_refuse() {
  int count = 0;
  const cudaError_t result = cudaGetDeviceCount(&count);
  cudaGetLastError();
  if (result == cudaErrorInsufficientDriver) {
    int driver = 0;
    int runtime = 0;
    cudaDriverGetVersion(&driver);
    cudaRuntimeGetVersion(&runtime);
    if (driver == 0) refuse("no NVIDIA driver was found; install one");
    refuse(fmt::format("the NVIDIA driver knows CUDA {}, this squint needs {}; update it",
                       version(driver), version(runtime)));
  }
  if (result == cudaErrorNoDevice || (result == cudaSuccess && count == 0)) {
    refuse("there is a driver and no NVIDIA card that it can use; is CUDA_VISIBLE_DEVICES set?");
  }
  if (result != cudaSuccess) refuse(cudaGetErrorString(result));
  return count;
}

}  // namespace

int cards() {
  int count = 0;
  const cudaError_t result = cudaGetDeviceCount(&count);
  cudaGetLastError();
  return result == cudaSuccess ? count : 0;
}

BackendPtr open(int index, BackendPtr host, Arithmetic arithmetic) {
  const int count = cards_or_refuse();
  if (index >= count) {
    throw Error(ErrorCode::usage, fmt::format("device \"cuda:{}\": this machine has {} card{}, "
                                              "counted from 0",
                                              index, count, count == 1 ? "" : "s"));
  }
  check(cudaSetDevice(index), "choosing the card");
  if (!kernels_run_here()) {
    cudaDeviceProp properties{};
    check(cudaGetDeviceProperties(&properties, index), "asking for the card's properties");
    refuse(fmt::format(
        "this squint was not compiled for {} (sm_{}{}); build it with "
        "-DSQUINT_CUDA_ARCHITECTURES={}{}",
        properties.name, properties.major, properties.minor, properties.major, properties.minor));
  }
  if (arithmetic == Arithmetic::fast) return BackendPtr(new FastBackend(index, std::move(host)));
  return BackendPtr(new CudaBackend(index, std::move(host)));
}

}  // namespace squint::cuda
