// The model against what the reference computed: every named value of three prompts.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "backends/cuda/open_cuda.h"
#include "golden/model_golden.h"
#include "support/json.h"
#include "support/paths.h"

namespace squint::test {
namespace {

struct Parameter {
  std::string golden;
  std::string device;  // "cpu/avx2", "cuda" or "reference"
};

std::vector<Parameter> parameters() {
  std::vector<Parameter> all;
  for (const char* name : {"line", "text", "two"}) {
    all.push_back({name, "reference"});
    for (const std::string& kernels : runnable_kernels()) all.push_back({name, "cpu/" + kernels});
    if (cuda::cards() > 0) all.push_back({name, "cuda"});
  }
  return all;
}

class ModelGolden : public testing::TestWithParam<Parameter> {};

TEST_P(ModelGolden, EveryValueIsTheReferences) {
  const std::filesystem::path data = repo_dir() / "tests/golden/data";
  const auto cases = test::json_of(read_text(data / "cases.json"));
  const auto& row = cases[GetParam().golden];
  GoldenCase golden{.model = repo_dir() / "models/reader",
                    .tensors = data / (GetParam().golden + ".safetensors"),
                    .prompt = row["prompt"]};
  for (const auto& image : row["images"]) golden.images.push_back(data / image.get<std::string>());

  const size_t slash = GetParam().device.find('/');
  BackendOptions options{.name = GetParam().device.substr(0, slash), .threads = 2};
  if (slash != std::string::npos) options.kernels = GetParam().device.substr(slash + 1);
  options.arithmetic = Arithmetic::exact;
  const BackendPtr backend = open_backend(options);
  const GoldenResult result = run_golden(golden, *backend);
  for (const std::string& failure : result.failures) ADD_FAILURE() << failure;
  EXPECT_GE(result.compared, 24);
  fmt::print("{} {}: {} values, worst {:.2g} ({})\n", GetParam().device, GetParam().golden,
             result.compared, result.worst, result.worst_name);
}

INSTANTIATE_TEST_SUITE_P(All, ModelGolden, testing::ValuesIn(parameters()), [](const auto& tested) {
  std::string name = tested.param.golden + "_" + tested.param.device;
  std::ranges::replace(name, '/', '_');
  return name;
});

}  // namespace
}  // namespace squint::test
