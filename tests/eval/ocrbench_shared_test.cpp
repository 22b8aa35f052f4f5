// The same rows in the three forms in which OCRBench is handed around.
#include <gtest/gtest.h>

#include "eval/ocrbench.h"
#include "support/json.h"
#include "support/paths.h"

namespace squint::eval {
namespace {

TEST(OcrBenchShared, ContainersHoldTheSameRows) {
  const auto shared = test::shared_data();
  if (!shared) GTEST_SKIP() << "no larger data sets";
  const auto data = *shared / "synthocr";
  const auto rows = load_ocrbench(data / "OCRBench.json");
  // The others hold every fifth row, or the first of these.
  const Json subset = test::json_of(test::read_text(data / "subset-rows.json"));
  for (const auto& [other, count] :
       std::initializer_list<std::pair<const char*, size_t>>{{"OCRBench.tsv", 200},
                                                             {"parquet/test-none.parquet", 20},
                                                             {"parquet/test-snappy.parquet", 200},
                                                             {"parquet/test-zstd.parquet", 20}}) {
    SCOPED_TRACE(other);
    const auto samples = load_ocrbench(data / other);
    ASSERT_EQ(samples.size(), count);
    for (size_t i = 0; i < count; ++i) {
      const Sample& row = rows.at(subset[i].get<size_t>());
      EXPECT_EQ(samples[i].index, static_cast<int64_t>(i));
      EXPECT_EQ(samples[i].type, row.type);
      EXPECT_EQ(samples[i].question, row.question);
      EXPECT_EQ(samples[i].answers, row.answers);
      if (!samples[i].dataset.empty()) {
        EXPECT_EQ(samples[i].dataset, row.dataset);
      }
      EXPECT_FALSE(samples[i].image.bytes().empty());
    }
  }
}

}  // namespace
}  // namespace squint::eval
