// Conversations in neuralmagic/calibration's schema, as another program wrote them.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "quantize/row_source.h"
#include "support/paths.h"

namespace squint::quantize {
namespace {

TEST(SharedCalibration, ParquetConversations) {
  if (!test::shared_data()) GTEST_SKIP() << test::kNoShared;
  const auto tokenizer = text::Tokenizer::parse(
      test::read_text(test::repo_dir() / "models/reader/tokenizer.json"), "tokenizer.json");
  const SourceContext context{.tokenizer = tokenizer, .read_image = {}};
  const CalibrationSource source{*test::shared_data() / "calibration/llm.parquet"};
  const std::vector<Conversation> rows = load_calibration({.calibration = {source}}, context);
  ASSERT_EQ(rows.size(), 256u);
  for (const Conversation& row : rows) {
    ASSERT_EQ(row.messages.size(), 2u) << row.where;
    EXPECT_EQ(row.messages[0].role, "user");
    EXPECT_EQ(row.messages[1].role, "assistant");
    EXPECT_FALSE(row.messages[1].content.at(0).text.empty());
  }
  // numpy.random.default_rng(42).permutation(256) begins with 168 26 239.
  const std::vector<Conversation> drawn =
      load_calibration({.calibration = {source}, .rows = 3, .seed = 42}, context);
  ASSERT_EQ(drawn.size(), 3u);
  for (const auto& [i, number] : {std::pair(0, 168), {1, 26}, {2, 239}}) {
    EXPECT_EQ(drawn[static_cast<size_t>(i)].messages[1].content[0].text,
              rows[static_cast<size_t>(number)].messages[1].content[0].text);
  }
}

}  // namespace
}  // namespace squint::quantize
