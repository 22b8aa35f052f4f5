#include <gtest/gtest.h>

#include "backends/cuda/open_cuda.h"
#include "golden/answers.h"
#include "support/paths.h"

namespace squint::test {
namespace {

std::vector<std::string> devices() {
  std::vector<std::string> names = {"cpu"};
  if (cuda::cards() > 0) names.emplace_back("cuda");
  return names;
}

class Answers : public testing::TestWithParam<std::string> {};

TEST_P(Answers, EqualTheReferencesOnEveryRowThatTravels) {
  const BackendPtr backend =
      open_backend({.name = GetParam(), .threads = 2, .arithmetic = Arithmetic::exact});
  const AnswerResult result =
      answer_all(repo_dir() / "models/reader", repo_dir() / "data/synthocr",
                 repo_dir() / "tests/golden/data/predictions-fp32.json", *backend);
  EXPECT_EQ(result.rows, 200);
  for (const std::string& difference : result.differences) ADD_FAILURE() << difference;
}

INSTANTIATE_TEST_SUITE_P(All, Answers, testing::ValuesIn(devices()),
                         [](const auto& tested) { return tested.param; });

}  // namespace
}  // namespace squint::test
