#include <fmt/format.h>
#include <fmt/ranges.h>

#include <charconv>
#include <optional>

#include "backends/cpu/cpu_backend.h"
#include "backends/cpu/fast_backend.h"
#include "backends/cuda/open_cuda.h"
#include "backends/reference/reference_backend.h"
#include "squint/backend.h"
#include "squint/error.h"

namespace squint {
namespace {

// The card that "cuda" or "cuda:1" names, or nothing.
std::optional<int> card_of(std::string_view name) {
  if (name == "cuda") return 0;
  constexpr std::string_view kPrefix = "cuda:";
  if (!name.starts_with(kPrefix)) return std::nullopt;
  const std::string_view digits = name.substr(kPrefix.size());
  int card = 0;
  const auto [end, error] = std::from_chars(digits.begin(), digits.end(), card);
  if (error != std::errc() || end != digits.end() || card < 0) return std::nullopt;
  return card;
}

template <class Table>
const Table& runnable(const Table* table, const BackendOptions& options, Arithmetic arithmetic) {
  if (table != nullptr) return *table;
  throw Error(ErrorCode::usage,
              fmt::format("cpu kernels: \"{}\" is not among those that this machine can run: {}",
                          options.kernels, fmt::join(runnable_kernels(arithmetic), ", ")));
}

BackendPtr open_cpu(const BackendOptions& options, int threads, Arithmetic arithmetic) {
  const CpuFeatures have = detect_cpu_features();
  if (arithmetic == Arithmetic::fast) {
    return BackendPtr(new cpu::FastBackend(
        runnable(cpu::select_fast_kernels(have, options.kernels), options, arithmetic), threads));
  }
  return BackendPtr(new cpu::CpuBackend(
      runnable(cpu::select_kernels(have, options.kernels), options, arithmetic), threads));
}

template <class Tables>
std::vector<std::string> names_of(const Tables& tables) {
  const CpuFeatures have = detect_cpu_features();
  std::vector<std::string> names;
  for (const auto* table : tables) {
    if (have.include(table->required)) names.emplace_back(table->name);
  }
  return names;
}

}  // namespace

void BackendDeleter::operator()(Backend* backend) const { delete backend; }

BackendPtr open_backend(const BackendOptions& asked) {
  BackendOptions options = asked;
  if (options.name == "auto") {
    options.name = options.kernels.empty() && cuda::cards() > 0 ? "cuda" : "cpu";
  }
  if (options.threads < 0 || options.threads > 4096) {
    throw Error(ErrorCode::usage, fmt::format("threads: expected 1 to 4096 (0 for all cores), "
                                              "found {}",
                                              options.threads));
  }
  const int threads = options.threads == 0 ? available_cores() : options.threads;
  const std::optional<int> card = card_of(options.name);
  if (options.name == "reference") {
    if (options.arithmetic == Arithmetic::fast) {
      throw Error(ErrorCode::usage,
                  "arithmetic: \"fast\" is for cards and the cpu, and the device is \"reference\"; "
                  "use --arithmetic exact");
    }
    return BackendPtr(new reference::ReferenceBackend(threads));
  }
  if (options.name != "cpu" && !card) {
    throw Error(ErrorCode::usage, fmt::format("device: expected \"auto\", \"cpu\", \"cuda\", "
                                              "\"cuda:N\" or \"reference\", found \"{}\"",
                                              options.name));
  }
  if (!card) return open_cpu(options, threads, options.arithmetic.value_or(Arithmetic::exact));
  return cuda::open(*card, open_cpu(options, threads, Arithmetic::exact),
                    options.arithmetic.value_or(Arithmetic::fast));
}

std::vector<std::string> runnable_kernels(Arithmetic arithmetic) {
  return arithmetic == Arithmetic::fast ? names_of(cpu::fast_kernel_tables())
                                        : names_of(cpu::kernel_tables());
}

std::string kernels_of(const Backend& backend) { return std::string(backend.kernels()); }

Arithmetic arithmetic_of(const Backend& backend) {
  return backend.is_exact() ? Arithmetic::exact : Arithmetic::fast;
}

int threads_of(Backend& backend) { return backend.host_threads().size(); }

}  // namespace squint
