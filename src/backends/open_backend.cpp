#include <fmt/format.h>
#include <fmt/ranges.h>

#include <charconv>
#include <optional>

#include "backends/cpu/cpu_backend.h"
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
  if (options.arithmetic == Arithmetic::fast && !card) {
    throw Error(ErrorCode::usage,
                fmt::format("arithmetic: \"fast\" is for cards, and the device is \"{}\"; use "
                            "--device cuda, or --arithmetic exact",
                            options.name));
  }
  if (options.name == "reference") {
    return BackendPtr(new reference::ReferenceBackend(threads));
  }
  if (options.name != "cpu" && !card) {
    throw Error(ErrorCode::usage, fmt::format("device: expected \"auto\", \"cpu\", \"cuda\", "
                                              "\"cuda:N\" or \"reference\", found \"{}\"",
                                              options.name));
  }
  const cpu::KernelTable* table = cpu::select_kernels(detect_cpu_features(), options.kernels);
  if (table == nullptr) {
    throw Error(ErrorCode::usage,
                fmt::format("cpu kernels: \"{}\" is not among those that this machine can run: {}",
                            options.kernels, fmt::join(runnable_kernels(), ", ")));
  }
  BackendPtr host(new cpu::CpuBackend(*table, threads));
  return card ? cuda::open(*card, std::move(host), options.arithmetic.value_or(Arithmetic::fast))
              : std::move(host);
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

Arithmetic arithmetic_of(const Backend& backend) {
  return backend.is_exact() ? Arithmetic::exact : Arithmetic::fast;
}

int threads_of(Backend& backend) { return backend.host_threads().size(); }

}  // namespace squint
