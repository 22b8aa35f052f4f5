// Parquet files that other programs wrote.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/json.h"
#include "io/parquet.h"
#include "support/paths.h"

namespace squint::io {
namespace {

// The questions of OCRBench.json and its image files, every fifth of which the Parquet files hold.
TEST(SharedParquet, EveryCodecHoldsTheQuestions) {
  if (!test::shared_data()) GTEST_SKIP() << test::kNoShared;
  const auto folder = *test::shared_data() / "synthocr";
  const Json questions = parse_json(test::read_text(folder / "OCRBench.json"), "OCRBench.json");
  const Json subset = parse_json(test::read_text(folder / "subset-rows.json"), "subset-rows.json");
  constexpr std::string_view kColumns[] = {"image", "question", "answer"};
  for (const auto& [codec, count] : {std::pair("none", 20), {"snappy", 200}, {"zstd", 20}}) {
    const ParquetFile file(folder / "parquet" / fmt::format("test-{}.parquet", codec));
    ASSERT_EQ(file.rows(), count);
    ParquetRows rows(file, kColumns);
    for (int64_t i = 0; i < count; ++i) {
      const Json& q = questions[subset[static_cast<size_t>(i)].get<size_t>()];
      const std::vector<ParquetValue> row = rows.read(i);
      const ParquetValue* image = row[0].find("bytes");
      ASSERT_NE(image, nullptr);
      EXPECT_EQ(image->bytes,
                test::read_text(folder / "images" / q["image_path"].get<std::string>()));
      EXPECT_EQ(row[1].bytes, q["question"]);
      const Json& answers = q["answers"];
      EXPECT_EQ(row[2].items.at(0).bytes, answers.is_array() ? answers[0] : answers);
    }
  }
}

}  // namespace
}  // namespace squint::io
