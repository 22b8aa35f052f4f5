#include <gtest/gtest.h>

#include "golden/answers.h"
#include "support/paths.h"

namespace squint::test {
namespace {

TEST(Answers, EqualTheReferencesOnEveryRowThatTravels) {
  const BackendPtr backend = open_backend({.threads = 2});
  const AnswerResult result =
      answer_all(repo_dir() / "models/reader", repo_dir() / "data/synthocr",
                 repo_dir() / "tests/golden/data/predictions-fp32.json", *backend);
  EXPECT_EQ(result.rows, 200);
  for (const std::string& difference : result.differences) ADD_FAILURE() << difference;
}

}  // namespace
}  // namespace squint::test
