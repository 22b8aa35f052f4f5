// backend.h: opens the device that everything else runs on.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace squint {

class Backend;  // opaque here; hand it on by reference, and keep it alive longer than its users

// exact: float32 throughout, comparable number by number with the other backends. fast: what the
// device does well, products of rounded values with sums in float32: of bf16 on a card, of blocks
// of 8-bit integers on the cpu.
enum class Arithmetic : uint8_t { exact, fast };

struct BackendOptions {
  // "cpu"; "cuda" or "cuda:1", an NVIDIA card; "auto", a card where there is one that this program
  // knows, else the cpu; or "reference": plain loops, for checking
  std::string name = "cpu";
  int threads = 0;      // on the host; 0: every core this process may use
  std::string kernels;  // forces a kernel table of the cpu backend; empty: the best that runs
  std::optional<Arithmetic> arithmetic;  // without: fast on a card, exact elsewhere
};

struct BackendDeleter {
  void operator()(Backend* backend) const;
};
using BackendPtr = std::unique_ptr<Backend, BackendDeleter>;

// Throws Error(usage) for an unknown name, a kernel table this machine cannot run, or arithmetic
// that the device does not have,
// Error(unsupported) where this program or this machine has no CUDA.
BackendPtr open_backend(const BackendOptions& options = {});

// Kernel tables of the cpu backend that this machine can run in that arithmetic, best first.
std::vector<std::string> runnable_kernels(Arithmetic arithmetic = Arithmetic::exact);
std::string kernels_of(const Backend& backend);
Arithmetic arithmetic_of(const Backend& backend);
int threads_of(Backend& backend);

}  // namespace squint
