#include "quantize/calibration.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "io/error_of.h"
#include "quantize/row_source.h"
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

  // A source of JSON lines, texts that begin with `name` and are numbered from 0.
  CalibrationSource lines(const std::string& name, int count, double weight = 1) const {
    std::string text;
    for (int i = 0; i < count; ++i) text += "{\"text\": \"" + name + std::to_string(i) + "\"}\n";
    test::write_text(dir_.path() / name, text);
    return {.path = dir_.path() / name, .weight = weight};
  }
  static std::vector<Conversation> load(const QuantizeOptions& options) {
    static const auto tokenizer = text::Tokenizer::parse(
        test::read_text(test::repo_dir() / "models/reader/tokenizer.json"), "tokenizer.json");
    return load_calibration(
        options,
        {.tokenizer = tokenizer, .max_tokens = options.calibration_tokens, .read_image = {}});
  }
  static std::string texts(const QuantizeOptions& options) {
    std::string all;
    for (const Conversation& row : load(options)) all += (all.empty() ? "" : " ") + row.text;
    return all;
  }

  test::TempDir dir_;
};

TEST_F(CalibrationTest, ImagesLieBesideTheFile) {
  test::write_text(dir_.path() / "a.png", "");
  for (const char* part : {R"({"type": "image", "image": "a.png"})", R"({"image": "a.png"})"}) {
    const Conversation row = parse(part);
    ASSERT_EQ(row.images.size(), 1u) << part;
    EXPECT_EQ(row.images[0].path, dir_.path() / "a.png") << part;
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
      says(error_of(ErrorCode::io, [&] { load({.calibration = {{dir_.path() / name}}}); }), name));
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
  EXPECT_EQ(load({.calibration = {{dir_.path()}}}).size(), 3u);
  const std::vector<Conversation> rows =
      load({.calibration = {{dir_.path() / "calibration.jsonl"}}, .rows = 2});
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

TEST_F(CalibrationTest, OtherNamesOfMembersAreRead) {
  const Conversation chat = parse_conversation(
      R"({"conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "ho"}]})",
      dir_.path(), "row");
  ASSERT_EQ(chat.messages.size(), 2u);
  EXPECT_EQ(chat.messages[0].role, "user");
  EXPECT_EQ(chat.messages[1].role, "assistant");
  EXPECT_EQ(chat.messages[1].content.at(0).text, "ho");
  const Conversation text = parse_conversation(R"({"text": "hello"})", dir_.path(), "row");
  EXPECT_EQ(text.text, "hello");
  EXPECT_EQ(text.max_tokens, kTextTokens);
}

TEST_F(CalibrationTest, SourcesShareTheRowsByWeight) {
  EXPECT_EQ(texts({.calibration = {lines("a", 9), lines("b", 9, 2)}, .rows = 6}),
            "a0 a1 b0 b1 b2 b3");
  EXPECT_EQ(texts({.calibration = {lines("a", 2), lines("b", 3)}}), "a0 a1 b0 b1 b2");
  EXPECT_EQ(texts({.calibration = {lines("a", 2), lines("b", 3)}, .rows = 99}), "a0 a1 b0 b1 b2");
}

TEST_F(CalibrationTest, SharesAreWholeAndAddUp) {
  using Numbers = std::vector<int64_t>;
  const auto share = [](int64_t rows, Numbers available, const std::vector<double>& weights) {
    return share_rows(rows, available, weights);
  };
  EXPECT_EQ(share(256, {400, 256}, {3, 1}), (Numbers{192, 64}));
  // 3.33 each: what is left goes to the first. 1.5, 1.5: likewise.
  EXPECT_EQ(share(10, {9, 9, 9}, {1, 1, 1}), (Numbers{4, 3, 3}));
  EXPECT_EQ(share(3, {9, 9}, {2, 2}), (Numbers{2, 1}));
  EXPECT_EQ(share(1, {9, 9}, {1, 2}), (Numbers{0, 1}));
  // The second has too few, then the third too.
  EXPECT_EQ(share(30, {100, 5, 8}, {1, 1, 1}), (Numbers{17, 5, 8}));
  EXPECT_EQ(share(30, {4, 5, 6}, {1, 1, 1}), (Numbers{4, 5, 6}));
}

// numpy.random.default_rng(42).permutation(10) is 5 6 0 7 3 2 4 9 1 8.
TEST_F(CalibrationTest, ASeedDrawsAsNumpyDoes) {
  EXPECT_EQ(texts({.calibration = {lines("a", 10)}, .rows = 4, .seed = 42}), "a5 a6 a0 a7");
  EXPECT_EQ(texts({.calibration = {lines("a", 10)}, .seed = 42}), "a5 a6 a0 a7 a3 a2 a4 a9 a1 a8");
  EXPECT_EQ(texts({.calibration = {lines("a", 10), lines("b", 10)}, .rows = 3, .seed = 42}),
            "a5 a6 b5");
}

// Rows that are not drawn are not looked at; those that are keep the number of their line.
TEST_F(CalibrationTest, OnlyDrawnRowsAreParsed) {
  test::write_text(dir_.path() / "a.jsonl", "{\"text\": \"first\"}\nbroken\n");
  EXPECT_EQ(texts({.calibration = {{dir_.path() / "a.jsonl"}}, .rows = 1}), "first");
  EXPECT_TRUE(says(error_of(ErrorCode::bad_input,
                            [&] { load({.calibration = {{dir_.path() / "a.jsonl"}}, .rows = 2}); }),
                   "a.jsonl line 2"));
}

TEST_F(CalibrationTest, TheLongestRowIsSet) {
  EXPECT_EQ(load({.calibration = {lines("a", 1)}, .calibration_tokens = 7})[0].max_tokens, 7);
}

}  // namespace
}  // namespace squint::quantize
