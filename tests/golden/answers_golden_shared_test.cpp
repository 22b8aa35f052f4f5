#include <gtest/gtest.h>

#include "golden/answers.h"
#include "squint/compare.h"
#include "squint/ocrbench.h"
#include "support/paths.h"

namespace squint::test {
namespace {

TEST(SharedAnswers, EqualTheReferencesOnAllRows) {
  const auto shared = shared_data();
  if (!shared) GTEST_SKIP() << kNoShared;
  const BackendPtr backend = open_backend({.threads = 2});
  const AnswerResult result =
      answer_all(*shared / "tiny-qwen3-vl-ocr", *shared / "synthocr",
                 *shared / "goldens/predictions-synthocr-fp32.json", *backend);
  EXPECT_EQ(result.rows, 1000);
  EXPECT_EQ(result.score, 762);
  for (const std::string& difference : result.differences) ADD_FAILURE() << difference;
}

// Another program's checkpoint: the divergence that its makers measured with the reference classes.
TEST(SharedAnswers, AnotherToolsCheckpointDivergesAsMeasuredElsewhere) {
  const auto shared = shared_data();
  if (!shared) GTEST_SKIP() << kNoShared;
  const BackendPtr backend = open_backend({.threads = 2});
  const Divergence d = compare_models({.base = *shared / "tiny-qwen3-vl-ocr",
                                       .others = {*shared / "llm-compressor-awq"},
                                       .data = *shared / "synthocr"},
                                      *backend)
                           .front();
  EXPECT_EQ(d.tokens, 6167);
  EXPECT_NEAR(d.kl, 0.005165, 0.005165 * 0.01);
  EXPECT_NEAR(d.top1, 0.98768, 0.0005);
}

}  // namespace
}  // namespace squint::test
