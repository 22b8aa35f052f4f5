// The same 1000 rows in the three forms in which OCRBench is handed around.
#include <gtest/gtest.h>

#include "eval/ocrbench.h"
#include "support/paths.h"

namespace squint::eval {
namespace {

TEST(OcrBenchShared, ContainersHoldTheSameRows) {
  const auto shared = test::shared_data();
  if (!shared) GTEST_SKIP() << "no larger data sets";
  const auto data = *shared / "synthocr";
  const auto rows = load_ocrbench(data / "OCRBench.json");
  for (const char* other : {"OCRBench.tsv", "parquet/test-none.parquet",
                            "parquet/test-snappy.parquet", "parquet/test-zstd.parquet"}) {
    SCOPED_TRACE(other);
    const auto samples = load_ocrbench(data / other);
    ASSERT_EQ(samples.size(), rows.size());
    for (size_t i = 0; i < rows.size(); ++i) {
      EXPECT_EQ(samples[i].index, rows[i].index);
      EXPECT_EQ(samples[i].type, rows[i].type);
      EXPECT_EQ(samples[i].question, rows[i].question);
      EXPECT_EQ(samples[i].answers, rows[i].answers);
      if (!samples[i].dataset.empty()) EXPECT_EQ(samples[i].dataset, rows[i].dataset);
      EXPECT_FALSE(samples[i].image.bytes().empty());
    }
  }
}

}  // namespace
}  // namespace squint::eval
