#include "conformance/on_every_backend.h"

#include <cstring>

#include "backends/cuda/open_cuda.h"
#include "conformance/host_side.h"

namespace squint::test {
namespace {

const std::string kCpuFast = "fast-";

}  // namespace

std::vector<std::string> backends_here() {
  std::vector<std::string> names = runnable_kernels();
  names.insert(names.begin(), "reference");
  for (const std::string& kernels : runnable_kernels(Arithmetic::fast)) {
    names.push_back(kCpuFast + kernels);
  }
  if (cuda::cards() > 0) names.insert(names.end(), {"cuda", "cuda-fast"});
  return names;
}

BackendPtr open_named(const std::string& name, int threads) {
  if (name == "reference") {
    BackendPtr backend = open_backend({.name = name, .threads = threads});
    EXPECT_EQ(kernels_of(*backend), "loops");
    return backend;
  }
  if (name == "cuda") {
    BackendPtr backend =
        open_backend({.name = name, .threads = threads, .arithmetic = Arithmetic::exact});
    EXPECT_EQ(backend->name(), name);
    return BackendPtr(new HostSide(std::move(backend)));
  }
  if (name == "cuda-fast") {
    BackendPtr backend =
        open_backend({.name = "cuda", .threads = threads, .arithmetic = Arithmetic::fast});
    EXPECT_NE(backend->fused(), nullptr);
    return BackendPtr(new HostSide(std::move(backend)));
  }
  const bool fast = name.starts_with(kCpuFast);
  const std::string kernels = fast ? name.substr(kCpuFast.size()) : name;
  BackendPtr backend = open_backend({.name = "cpu",
                                     .threads = threads,
                                     .kernels = kernels,
                                     .arithmetic = fast ? Arithmetic::fast : Arithmetic::exact});
  EXPECT_EQ(kernels_of(*backend), kernels);
  EXPECT_EQ(arithmetic_of(*backend), fast ? Arithmetic::fast : Arithmetic::exact);
  EXPECT_EQ(threads_of(*backend), threads);
  return backend;
}

Tensor copy_of(const Tensor& tensor) {
  Tensor copy = Tensor::on_host(tensor.dtype(), tensor.shape());
  std::memcpy(copy.raw(), tensor.raw(), static_cast<size_t>(tensor.bytes()));
  return copy;
}

}  // namespace squint::test
