#include <CLI/CLI.hpp>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "command.h"
#include "squint/error.h"

namespace squint::cli {

void DeviceOptions::add_to(CLI::App& app) {
  app.add_option("--device", backend.name,
                 "cpu; cuda or cuda:N, an NVIDIA card; auto: a card where there is one; reference: "
                 "plain loops, for checking")
      ->default_val("auto");
  app.add_option("--arithmetic", backend.arithmetic,
                 "exact: float32 throughout; fast: products of bf16 on a card, of bytes on the cpu")
      ->option_text(fast_answers ? "exact|fast [fast]" : "exact|fast [fast on a card]")
      ->transform(CLI::CheckedTransformer(std::map<std::string, Arithmetic>{
          {"exact", Arithmetic::exact}, {"fast", Arithmetic::fast}}));
  app.add_option("--threads", backend.threads, "0: every core this process may use")
      ->check(CLI::Range(0, 4096))
      ->capture_default_str();
  app.add_option("--cpu-kernels", backend.kernels,
                 "force a kernel table: avx512, avxvnni (fast only), avx2, scalar");
}

BackendPtr DeviceOptions::open() const {
  BackendOptions options = backend;
  if (fast_answers && !options.arithmetic && options.name != "reference") {
    options.arithmetic = Arithmetic::fast;
  }
  BackendPtr opened = open_backend(options);
  // Bytes are close enough for answers; statistics and comparisons are of the model itself.
  const std::vector<std::string> of_the_cpu = runnable_kernels(Arithmetic::fast);
  if (!fast_answers && arithmetic_of(*opened) == Arithmetic::fast &&
      std::ranges::find(of_the_cpu, kernels_of(*opened)) != of_the_cpu.end()) {
    throw Error(
        ErrorCode::usage,
        "arithmetic: for this command \"fast\" is for cards, and the device is the cpu; use "
        "--device cuda, or --arithmetic exact");
  }
  return opened;
}

std::string refuse_empty(const std::string& name) {
  return name.empty() ? "expected the name of a file or folder, found an empty one" : "";
}

}  // namespace squint::cli
