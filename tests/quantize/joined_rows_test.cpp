#include "quantize/joined_rows.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "image/decode.h"
#include "image/encode_bmp.h"

namespace squint::quantize {
namespace {

RowImage plain(int64_t width, int64_t height, uint8_t shade) {
  const image::Image image{
      .width = width,
      .height = height,
      .rgb = std::vector<uint8_t>(static_cast<size_t>(width * height * 3), shade)};
  return {.path = "shade", .bytes = std::make_shared<const std::string>(image::encode_bmp(image))};
}

Conversation row(uint8_t shade, const std::string& question) {
  using qwen3_vl::ContentPart;
  Conversation out{.images = {plain(40, 20, shade)}, .max_tokens = 77, .where = "row"};
  out.messages = {{.role = "user",
                   .content = {{.kind = ContentPart::Kind::image, .text = {}}, {.text = question}}},
                  {.role = "assistant", .content = {{.text = "an answer"}}}};
  return out;
}

image::Image decoded(const RowImage& image) {
  const std::string bytes = encoded(image);
  return image::decode(std::as_bytes(std::span(bytes)), "joined");
}

TEST(JoinedImage, LeftPartBesideRightPartAtOneHeight) {
  const JoinedImage joined{
      .left = plain(40, 20, 200), .right = plain(30, 10, 50), .cut = 0.25, .width = 1, .height = 2};
  const std::string bytes = encoded(joined);
  const image::Image image = image::decode(std::as_bytes(std::span(bytes)), "joined");
  EXPECT_EQ(image.width, 10 + 45);  // a quarter of 40, three quarters of 60
  EXPECT_EQ(image.height, 40);
  EXPECT_EQ(image.rgb[3 * 5], 200);
  EXPECT_EQ(image.rgb[3 * 30], 50);
}

TEST(JoinedRows, AskTheFirstRowsQuestionAndTakeTheAnswer) {
  std::vector<Conversation> rows = {row(1, "what?"), row(2, "where?")};
  rows.push_back({.text = "no image", .where = "text"});
  std::vector<std::string> asked;
  const AskImage ask = [&](const RowImage& image, const std::string& prompt, int64_t done,
                           int64_t total) {
    EXPECT_EQ(done, static_cast<int64_t>(asked.size()));
    EXPECT_EQ(total, 6);
    EXPECT_NE(image.joined, nullptr);
    asked.push_back(prompt);
    return "read " + std::to_string(done);
  };
  const std::vector<Conversation> joined = joined_rows(rows, 3, ask);
  ASSERT_EQ(joined.size(), 6u);
  EXPECT_EQ(asked,
            (std::vector<std::string>{"what?", "where?", "what?", "where?", "what?", "where?"}));
  EXPECT_EQ(joined[4].messages[0].content[1].text, "what?");
  EXPECT_EQ(joined[4].messages[1].content[0].text, "read 4");
  EXPECT_EQ(joined[4].max_tokens, 77);
  asked.clear();
  const std::vector<Conversation> again = joined_rows(rows, 3, ask);
  for (size_t i = 0; i < joined.size(); ++i) {
    EXPECT_EQ(decoded(joined[i].images[0]), decoded(again[i].images[0]));
  }
}

TEST(JoinedRows, WithoutImagesThereAreNone) {
  const std::vector<Conversation> rows = {{.text = "no image", .where = "text"}};
  EXPECT_TRUE(joined_rows(rows, 3, nullptr).empty());
}

}  // namespace
}  // namespace squint::quantize
