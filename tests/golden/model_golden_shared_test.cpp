// The prompts that do not travel with the repository, among them the real head sizes.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "golden/model_golden.h"
#include "support/json.h"
#include "support/paths.h"

namespace squint::test {
namespace {

void expect_golden(const GoldenCase& golden) {
  for (const char* device : {"reference", "cpu"}) {
    const BackendPtr backend =
        open_backend({.name = device, .threads = 2, .arithmetic = Arithmetic::exact});
    const GoldenResult result = run_golden(golden, *backend);
    for (const std::string& failure : result.failures) ADD_FAILURE() << device << ": " << failure;
    EXPECT_GE(result.compared, 29);
  }
}

class SharedModelGolden : public testing::TestWithParam<const char*> {};

TEST_P(SharedModelGolden, EveryValueIsTheReferences) {
  const auto shared = shared_data();
  if (!shared) GTEST_SKIP() << kNoShared;
  const std::filesystem::path data = *shared / "goldens/model";
  const auto cases = test::json_of(read_text(data / "cases.json"));
  GoldenCase golden{.model = *shared / "tiny-qwen3-vl-ocr",
                    .tensors = data / (std::string(GetParam()) + ".safetensors"),
                    .prompt = cases[GetParam()]["prompt"]};
  for (const auto& image : cases[GetParam()]["images"]) {
    golden.images.push_back(data / image.get<std::string>());
  }
  expect_golden(golden);
}

INSTANTIATE_TEST_SUITE_P(All, SharedModelGolden, testing::Values("page", "resized"));

TEST(SharedModelGolden, RandomWeightsWithTheRealHeadSizesAndATiedHead) {
  const auto shared = shared_data();
  if (!shared) GTEST_SKIP() << kNoShared;
  expect_golden({.model = *shared / "random-shapes",
                 .tensors = *shared / "goldens/model/random-shapes.safetensors",
                 .prompt = "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>what is "
                           "it?<|im_end|>\n<|im_start|>assistant\n",
                 .images = {*shared / "goldens/model/page-0.png"}});
}

}  // namespace
}  // namespace squint::test
