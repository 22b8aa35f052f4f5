#include "quantize/calibration.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "io/error_of.h"
#include "support/paths.h"

namespace squint::quantize {
namespace {

namespace fs = std::filesystem;
using test::error_of;
using test::says;

std::string row_with(const std::string& part) {
  return R"({"messages": [{"role": "user", "content": [)" + part +
         R"(, {"type": "text", "text": "what is this?"}]}]})";
}

class CalibrationTest : public ::testing::Test {
 protected:
  Conversation parse(const std::string& part) const {
    return parse_conversation(row_with(part), dir_.path(), "rows line 3");
  }

  test::TempDir dir_;
};

TEST_F(CalibrationTest, ImagesLieBesideTheFile) {
  test::write_text(dir_.path() / "a.png", "");
  for (const char* part : {R"({"type": "image", "image": "a.png"})", R"({"image": "a.png"})"}) {
    const Conversation row = parse(part);
    EXPECT_EQ(row.images, std::vector<fs::path>{dir_.path() / "a.png"}) << part;
    ASSERT_EQ(row.messages.size(), 1u);
    EXPECT_EQ(row.messages[0].content.size(), 2u);
    EXPECT_EQ(row.where, "rows line 3");
  }
}

TEST_F(CalibrationTest, ImagesThatCannotBeFoundAreNamed) {
  const std::string message = error_of(ErrorCode::io, [&] { parse(R"({"image": "b.png"})"); });
  EXPECT_TRUE(says(message, "rows line 3: image "));
  EXPECT_TRUE(says(message, "b.png not found; are the images beside the file?"));
}

TEST_F(CalibrationTest, NamesThatNoFileCanHaveAreNamed) {
  const std::string name(300, 'x');
  EXPECT_TRUE(says(error_of(ErrorCode::io, [&] { parse(R"({"image": ")" + name + "\"}"); }),
                   "rows line 3: image "));
  EXPECT_TRUE(
      says(error_of(ErrorCode::io, [&] { load_calibration(dir_.path() / name, 0); }), name));
}

// The chat template shows an image for each of these, so leaving one out would shift the others.
TEST_F(CalibrationTest, EveryImagePartNamesAFile) {
  for (const char* part :
       {R"({"type": "image"})", R"({"type": "image", "image": 7})", R"({"image": null})",
        R"({"type": "image_url", "image_url": {"url": "http://a/b.png"}})",
        R"({"image_url": "b.png"})"}) {
    EXPECT_TRUE(says(error_of(ErrorCode::bad_input, [&] { parse(part); }),
                     "rows line 3: an image part should name its file in \"image\""))
        << part;
  }
}

TEST_F(CalibrationTest, BlankLinesAreNoRows) {
  const std::string row = R"({"messages": [{"role": "user", "content": "hello"}]})";
  test::write_text(dir_.path() / "calibration.jsonl", "\n" + row + "\n \t\r\n" + row + "\n" + row);
  EXPECT_EQ(load_calibration(dir_.path(), 0).size(), 3u);
  const std::vector<Conversation> rows = load_calibration(dir_.path() / "calibration.jsonl", 2);
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_TRUE(rows[1].where.ends_with("calibration.jsonl line 4")) << rows[1].where;
}

// As generating it would give: no token of the answer reaches back into the prompt.
TEST_F(CalibrationTest, AnswersAreTokensOfTheirOwn) {
  const io::Checkpoint checkpoint = io::Checkpoint::open(test::repo_dir() / "models/reader");
  const qwen3_vl::Processor processor(checkpoint,
                                      qwen3_vl::parse_config(checkpoint.config(), "config.json"));
  Conversation row = parse_conversation(R"({"messages": [{"role": "user", "content": "who?"}]})",
                                        dir_.path(), "row");
  const auto& tokenizer = processor.tokenizer();
  for (const char* answer : {"MAROON", "", "\n\nnew line", " two  words ", "\xc3\xa9"}) {
    row.answer = answer;
    const std::vector<int32_t> own = tokenizer.encode(answer);
    const std::vector<int32_t> ids = model_input(row, processor).ids;
    ASSERT_GT(ids.size(), own.size());
    const auto begin = ids.end() - static_cast<std::ptrdiff_t>(own.size());
    EXPECT_EQ(std::vector<int32_t>(begin, ids.end()), own);
    EXPECT_EQ(tokenizer.decode({ids.begin(), begin}, false),
              "<|im_start|>user\nwho?<|im_end|>\n<|im_start|>assistant\n");
  }
  row.answer.reset();
  EXPECT_EQ(tokenizer.decode(model_input(row, processor).ids, false),
            "<|im_start|>user\nwho?<|im_end|>\n");
}

}  // namespace
}  // namespace squint::quantize
