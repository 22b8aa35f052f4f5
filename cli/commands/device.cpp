#include <CLI/CLI.hpp>

#include <map>
#include <string>

#include "command.h"

namespace squint::cli {

void DeviceOptions::add_to(CLI::App& app) {
  app.add_option("--device", backend.name,
                 "cpu; cuda or cuda:N, an NVIDIA card; auto: a card where there is one; reference: "
                 "plain loops, for checking")
      ->default_val("auto");
  app.add_option("--arithmetic", backend.arithmetic,
                 "of a card: exact, float32 throughout; fast, products of bf16")
      ->option_text("exact|fast [fast on a card]")
      ->transform(CLI::CheckedTransformer(std::map<std::string, Arithmetic>{
          {"exact", Arithmetic::exact}, {"fast", Arithmetic::fast}}));
  app.add_option("--threads", backend.threads, "0: every core this process may use")
      ->check(CLI::Range(0, 4096))
      ->capture_default_str();
  app.add_option("--cpu-kernels", backend.kernels, "force a kernel table: avx512, avx2, scalar");
}

std::string refuse_empty(const std::string& name) {
  return name.empty() ? "expected the name of a file or folder, found an empty one" : "";
}

}  // namespace squint::cli
