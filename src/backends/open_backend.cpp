#include <fmt/format.h>
#include <fmt/ranges.h>

#include "backends/cpu/cpu_backend.h"
#include "backends/reference/reference_backend.h"
#include "squint/backend.h"
#include "squint/error.h"

namespace squint {

void BackendDeleter::operator()(Backend* backend) const { delete backend; }

BackendPtr open_backend(const BackendOptions& options) {
  if (options.threads < 0 || options.threads > 4096) {
    throw Error(ErrorCode::usage, fmt::format("threads: expected 1 to 4096 (0 for all cores), "
                                              "found {}",
                                              options.threads));
  }
  const int threads = options.threads == 0 ? available_cores() : options.threads;
  if (options.name == "reference") {
    return BackendPtr(new reference::ReferenceBackend(threads));
  }
  if (options.name != "cpu") {
    throw Error(ErrorCode::usage, fmt::format("device: expected \"cpu\" or \"reference\", found "
                                              "\"{}\"",
                                              options.name));
  }
  const cpu::KernelTable* table = cpu::select_kernels(detect_cpu_features(), options.kernels);
  if (table == nullptr) {
    throw Error(ErrorCode::usage,
                fmt::format("cpu kernels: \"{}\" is not among those that this machine can run: {}",
                            options.kernels, fmt::join(runnable_kernels(), ", ")));
  }
  return BackendPtr(new cpu::CpuBackend(*table, threads));
}

std::vector<std::string> runnable_kernels() {
  const CpuFeatures have = detect_cpu_features();
  std::vector<std::string> names;
  for (const cpu::KernelTable* table : cpu::kernel_tables()) {
    if (have.include(table->required)) names.emplace_back(table->name);
  }
  return names;
}

std::string kernels_of(const Backend& backend) { return std::string(backend.kernels()); }

int threads_of(Backend& backend) { return backend.host_threads().size(); }

}  // namespace squint
