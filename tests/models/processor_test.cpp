#include "models/qwen3_vl/processor.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "io/error_of.h"
#include "support/paths.h"
#include "support/tiny_checkpoint.h"

namespace squint::qwen3_vl {
namespace {

using test::error_of;
using test::says;

constexpr int32_t kImagePad = 1010;
constexpr int32_t kVisionStart = 1007;
constexpr int32_t kVisionEnd = 1008;
constexpr const char* kImage = "<|vision_start|><|image_pad|><|vision_end|>";

Config config_of(const io::Checkpoint& checkpoint) {
  return parse_config(checkpoint.config(), "config.json");
}

// What prepare() looks at is the grid.
Patches patches(int64_t h, int64_t w) {
  return {Tensor::on_host(DType::f32, {h * w, 1536}), {1, h, w}};
}

class ProcessorTest : public ::testing::Test {
 protected:
  ProcessorTest() : files_(test::tiny_checkpoint(1)) {}

  Processor processor() const {
    files_.write(dir_.path());
    const io::Checkpoint checkpoint = io::Checkpoint::open(dir_.path());
    return Processor(checkpoint, config_of(checkpoint));
  }
  std::string load_error(ErrorCode code) const {
    return error_of(code, [&] { processor(); });
  }

  test::TinyCheckpoint files_;
  test::TempDir dir_;
};

TEST_F(ProcessorTest, PlaceholderBecomesOneTokenPerMergedPatch) {
  const Processor p = processor();
  std::vector<Patches> images;
  images.push_back(patches(4, 6));
  const ModelInput input = p.prepare(std::string(kImage) + "word", std::move(images));
  const std::vector<int32_t> word = p.tokenizer().encode("word");
  std::vector<int32_t> expected = {kVisionStart};
  expected.insert(expected.end(), 6, kImagePad);
  expected.push_back(kVisionEnd);
  expected.insert(expected.end(), word.begin(), word.end());
  EXPECT_EQ(input.ids, expected);
  ASSERT_EQ(input.runs.size(), 1u);
  EXPECT_EQ(input.runs[0].begin, 1);
  EXPECT_EQ(input.runs[0].tokens, 6);
  EXPECT_EQ(input.image_tokens(), 6);
  ASSERT_EQ(input.images.size(), 1u);
  EXPECT_EQ(input.images[0].values.dim(0), 24);
  EXPECT_EQ(input.positions.tokens[6], (Position{1, 2, 3}));
  EXPECT_EQ(input.positions.tokens[7], (Position{4, 4, 4}));
}

TEST_F(ProcessorTest, ImagesKeepTheirOrder) {
  std::vector<Patches> images;
  images.push_back(patches(2, 2));
  images.push_back(patches(2, 8));
  const std::string prompt = std::string(kImage) + kImage;
  const ModelInput input = processor().prepare(prompt, std::move(images));
  ASSERT_EQ(input.runs.size(), 2u);
  EXPECT_EQ(input.runs[0].tokens, 1);
  EXPECT_EQ(input.runs[1].begin, 4);
  EXPECT_EQ(input.runs[1].tokens, 4);
  EXPECT_EQ(input.runs[1].grid, (Grid{1, 2, 8}));
  EXPECT_EQ(input.images[1].grid, (Grid{1, 2, 8}));
  EXPECT_EQ(input.tokens(), 3 + 6);
}

TEST_F(ProcessorTest, TextAlone) {
  const Processor p = processor();
  const ModelInput input = p.prepare("some words", {});
  EXPECT_EQ(input.ids, p.tokenizer().encode("some words"));
  EXPECT_EQ(input.image_tokens(), 0);
  EXPECT_EQ(input.positions.delta(), 0);
}

TEST_F(ProcessorTest, PlaceholdersMustMatchImages) {
  const Processor p = processor();
  const std::vector<std::pair<int, size_t>> cases = {{0, 1}, {1, 0}, {2, 1}, {1, 2}, {3, 0}};
  for (const auto& [placeholders, count] : cases) {
    std::string prompt = "text";
    for (int i = 0; i < placeholders; ++i) prompt += kImage;
    std::vector<Patches> images;
    for (size_t i = 0; i < count; ++i) images.push_back(patches(2, 2));
    EXPECT_TRUE(says(error_of(ErrorCode::bad_input, [&] { p.prepare(prompt, std::move(images)); }),
                     std::to_string(placeholders) + " image placeholders for " +
                         std::to_string(count) + " images"));
  }
}

TEST_F(ProcessorTest, PromptMayFillThePositionsAndNotMore) {
  const Processor p = processor();  // made for 512
  std::vector<Patches> images;
  images.push_back(patches(30, 34));  // 255 tokens
  images.push_back(patches(22, 46));  // 253
  std::string prompt = std::string(kImage) + kImage;
  EXPECT_EQ(p.prepare(prompt, images).tokens(), 512);
  const std::string message =
      error_of(ErrorCode::bad_input, [&] { p.prepare(prompt + "a", images); });
  EXPECT_TRUE(says(message, "513 tokens, 508 of them of images"));
  EXPECT_TRUE(says(message, "made for 512"));
  EXPECT_TRUE(
      says(error_of(ErrorCode::bad_input, [&] { p.prepare(prompt, images, "a"); }), "513 tokens"));
}

TEST_F(ProcessorTest, AnswerDoesNotReachBackIntoThePrompt) {
  const Processor p = processor();
  const std::string prompt = "<|im_start|>assistant\n";
  const std::string answer = "\n\nword<|im_end|>";
  std::vector<int32_t> expected = p.tokenizer().encode(prompt);
  const std::vector<int32_t> ids = p.tokenizer().encode(answer);
  expected.insert(expected.end(), ids.begin(), ids.end());
  const ModelInput input = p.prepare(prompt, {}, answer);
  EXPECT_EQ(input.ids, expected);
  EXPECT_EQ(input.positions.tokens.size(), expected.size());
}

TEST_F(ProcessorTest, SmallerVocabularyThanTheTokenizers) {
  files_.patch("config.json", R"({"text_config": {"vocab_size": 1000}})");
  const std::string message = load_error(ErrorCode::bad_input);
  EXPECT_TRUE(says(message, "ids up to 1023"));
  EXPECT_TRUE(says(message, "the embedding 1000 rows"));
}

TEST_F(ProcessorTest, OtherImageTokenThanTheTokenizers) {
  files_.patch("config.json", R"({"image_token_id": 151655})");
  const std::string message = load_error(ErrorCode::bad_input);
  EXPECT_TRUE(says(message, "token 1010 in tokenizer.json and 151655 in config.json"));
}

TEST_F(ProcessorTest, TokenizerWithoutImages) {
  Json tokenizer = Json::parse(files_.files.at("tokenizer.json"));
  Json& added = tokenizer.at("added_tokens");
  for (size_t i = 0; i < added.size(); ++i) {
    if (added[i].at("content") == "<|image_pad|>") added[i]["content"] = "<|picture|>";
  }
  files_.files["tokenizer.json"] = tokenizer.dump();
  EXPECT_TRUE(says(load_error(ErrorCode::bad_input), "<|image_pad|> is token -1"));
}

TEST_F(ProcessorTest, PatchSizesMustAgree) {
  for (const char* key : {"patch_size", "temporal_patch_size", "spatial_merge_size"}) {
    files_.patch("config.json", std::string(R"({"vision_config": {")") + key + "\": 1}}");
    EXPECT_TRUE(says(load_error(ErrorCode::bad_input), "patch sizes")) << key;
    files_ = test::tiny_checkpoint(1);
  }
}

TEST_F(ProcessorTest, MissingFilesAreNamed) {
  files_.files.erase("preprocessor_config.json");
  EXPECT_TRUE(says(load_error(ErrorCode::io), "neither preprocessor_config.json nor"));
  files_.files.erase("tokenizer.json");
  std::filesystem::remove(dir_.path() / "tokenizer.json");
  EXPECT_TRUE(says(load_error(ErrorCode::io), "tokenizer.json: not found"));
}

TEST_F(ProcessorTest, ProcessorConfigStandsIn) {
  Json nested;
  nested["image_processor"] = Json::parse(files_.files.at("preprocessor_config.json"));
  nested["image_processor"]["size"]["longest_edge"] = 131072;
  files_.files.erase("preprocessor_config.json");
  files_.files["processor_config.json"] = nested.dump();
  EXPECT_EQ(processor().image_config().max_area, 131072);
}

TEST_F(ProcessorTest, DamagedFilesAreNamed) {
  files_.files["preprocessor_config.json"] = "{";
  EXPECT_TRUE(says(load_error(ErrorCode::bad_input), "preprocessor_config.json: not valid JSON"));
}

TEST_F(ProcessorTest, ImagesAreReadAndNamed) {
  const Processor p = processor();
  const std::string file = test::read_text(test::repo_dir() / "tests/data/images/rgb.png");
  const Patches image = p.read_image(std::as_bytes(std::span(file)), "rgb.png");
  EXPECT_EQ(image.values.dim(0), image.grid.h * image.grid.w);
  EXPECT_GE(image.grid.h * image.grid.w * 256, p.image_config().min_area);
  const auto values = image.values.span<const float>();
  const Patches same = p.read_image(test::repo_dir() / "tests/data/images/rgb.png");
  EXPECT_TRUE(std::ranges::equal(same.values.span<const float>(), values));
  error_of(ErrorCode::io, [&] { p.read_image("/no/such.png"); });
  const std::string half = file.substr(0, 20);
  EXPECT_TRUE(says(error_of(ErrorCode::bad_input,
                            [&] { p.read_image(std::as_bytes(std::span(half)), "half.png"); }),
                   "half.png"));
}

}  // namespace
}  // namespace squint::qwen3_vl
