#include "backends/cuda/open_cuda.h"
#include "squint/error.h"

namespace squint::cuda {

BackendPtr open(int, BackendPtr, Arithmetic) {
  throw Error(ErrorCode::unsupported,
              "device \"cuda\": this squint was built without CUDA; build it with "
              "cmake --preset cuda, or use --device cpu");
}

int cards() { return 0; }

}  // namespace squint::cuda
