#include "eval/divergence.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "eval/utf8.h"
#include "support/json.h"

namespace squint::eval {
namespace {

using quantize::PredictedToken;
using qwen3_vl::TokenKind;

TEST(Summarize, KindsDivideTheTokensTwice) {
  const std::vector<PredictedToken> tokens = {
      {.kind = TokenKind::digits, .after_image = true, .kl = 1},
      {.kind = TokenKind::end, .after_image = true, .kl = 3},
      {.kind = TokenKind::digits, .kl = 5},
  };
  std::vector<std::pair<std::string, double>> found;
  for (const KindDivergence& k : summarize_kinds(tokens)) found.emplace_back(k.kind, k.of.kl);
  EXPECT_EQ(found, (std::vector<std::pair<std::string, double>>{
                       {"after_image", 2}, {"no_image", 5}, {"digits", 3}, {"end", 3}}));
}

TEST(WorstRows, ByMeanAndInOrder) {
  const std::vector<PredictedToken> tokens = {{.row = 0, .kl = 1},
                                              {.row = 0, .kl = 5},
                                              {.row = 2, .kl = 4},
                                              {.row = 3, .kl = 3},
                                              {.row = 7, .kl = 1}};
  const std::vector<RowDivergence> worst = worst_rows(tokens, 3);
  ASSERT_EQ(worst.size(), 3u);
  EXPECT_EQ(worst[0].row, 2);
  EXPECT_EQ(worst[1].row, 0);
  EXPECT_EQ(worst[1].tokens, 2);
  EXPECT_EQ(worst[1].kl, 3);
  EXPECT_EQ(worst[2].row, 3);
  EXPECT_EQ(worst_rows(tokens, 9).size(), 4u);
  EXPECT_TRUE(worst_rows(tokens, 0).empty());
}

Divergence example() {
  Divergence d;
  static_cast<TokenDivergence&>(d) = {.tokens = 123456,
                                      .kl = 0.00012345,
                                      .median = 1.25e-9,
                                      .p90 = 0.00034567,
                                      .p99 = 0.00123456,
                                      .max = 0.0123456,
                                      .top1 = 0.98765};
  d.base = "base";
  d.other = "other";
  d.rows = 1000;
  TokenDivergence part = d;
  part.tokens = 61234;
  d.kinds = {{"no_image", part}, {"cjk", part}, {"text", d}};
  d.layer_errors.assign(36, 0.0123);
  d.vision_error = 0.25;
  d.worst = {{.row = 3, .question = "what\x1b?", .answer = std::string(200, 'x'), .kl = 0.5}};
  return d;
}

TEST(DivergenceReport, TextFitsEightyColumnsAndHarmsNoTerminal) {
  const std::string text = example().to_text(80);
  EXPECT_EQ(text.find('\x1b'), std::string::npos);
  for (size_t at = 0; at < text.size(); at = text.find('\n', at) + 1) {
    const std::string line = text.substr(at, text.find('\n', at) - at);
    EXPECT_LE(display_width(line), 80) << line;
  }
  EXPECT_EQ(text.find("plain text"), std::string::npos);  // would say what "all" says
  for (const char* part : {"without an image", "CJK", "33-36", "0.2500", "98.77 %"}) {
    EXPECT_NE(text.find(part), std::string::npos) << part << " is not in\n" << text;
  }
}

TEST(DivergenceReport, JsonHasWhatIsPromised) {
  const auto json = test::json_of(example().to_json());
  EXPECT_EQ(json["kl"], 0.00012345);
  EXPECT_EQ(json["top1"], 0.98765);
  EXPECT_EQ(json["tokens"], 123456);
  EXPECT_EQ(json["rows"], 1000);
  EXPECT_EQ(json["kl_p99"], 0.00123456);
  EXPECT_EQ(json["kinds"]["cjk"]["kl_median"], 1.25e-9);
  EXPECT_EQ(json["layer_errors"].size(), 36u);
  EXPECT_EQ(json["vision_error"], 0.25);
  EXPECT_EQ(json["worst_rows"][0]["question"], "what\x1b?");
}

}  // namespace
}  // namespace squint::eval
