#include "quantize/activations.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <numeric>
#include <string>

#include "io/error_of.h"
#include "squint/backend.h"
#include "support/paths.h"
#include "support/tiny_checkpoint.h"

namespace squint::quantize {
namespace {

namespace fs = std::filesystem;
using test::error_of;

class MeasureTest : public ::testing::Test {
 protected:
  MeasureTest() { test::tiny_checkpoint(7).write(dir_.path()); }

  CalibrationSize of(const std::vector<Conversation>& rows, const OnRows& on_rows) const {
    const io::Checkpoint checkpoint = io::Checkpoint::open(dir_.path());
    const qwen3_vl::Processor processor(checkpoint,
                                        qwen3_vl::parse_config(checkpoint.config(), "config.json"));
    ThreadPool threads(2);
    return measure(rows, processor, threads, on_rows);
  }
  CalibrationSize of(const std::vector<Conversation>& rows) const {
    return of(rows, [](int64_t) {});
  }
  Conversation row(const std::string& text) const {
    return parse_conversation(R"({"messages": [{"role": "user", "content": ")" + text + "\"}]}",
                              dir_.path(), "row");
  }
  // The same words and grid for images of one size.
  Conversation image_row(const std::string& png) const {
    test::write_text(dir_.path() / "a.png", png);
    return parse_conversation(
        R"({"messages": [{"role": "user", "content": [{"type": "image", "image": "a.png"}]}]})",
        dir_.path(), "row");
  }

  test::TempDir dir_;
};

TEST_F(MeasureTest, ReportsInPortionsAndCanBeStopped) {
  const std::vector<Conversation> rows(40, row("hello"));
  std::vector<int64_t> portions;
  const CalibrationSize size = of(rows, [&](int64_t done) { portions.push_back(done); });
  EXPECT_EQ(size.rows, 40);
  EXPECT_GT(portions.size(), 1u);
  EXPECT_EQ(std::accumulate(portions.begin(), portions.end(), int64_t{0}), 40);
  int calls = 0;
  error_of(ErrorCode::interrupted, [&] {
    of(rows, [&](int64_t) {
      ++calls;
      throw Error(ErrorCode::interrupted, "stop");
    });
  });
  EXPECT_EQ(calls, 1);
}

TEST_F(MeasureTest, HashTellsWordsApart) {
  EXPECT_EQ(of({row("hello")}).input_hash, of({row("hello")}).input_hash);
  EXPECT_NE(of({row("hello")}).input_hash, of({row("world")}).input_hash);
  EXPECT_NE(of({row("hello")}).input_hash, of({row("hello"), row("hello")}).input_hash);
}

TEST_F(MeasureTest, HashTellsPixelsApart) {
  const auto data = test::repo_dir() / "tests/data/images";
  // One picture in two encodings of the same size.
  const CalibrationSize a = of({image_row(test::read_text(data / "q95.jpg"))});
  const CalibrationSize b = of({image_row(test::read_text(data / "q40-420.jpg"))});
  ASSERT_EQ(a.image_tokens, b.image_tokens);
  ASSERT_GT(a.image_tokens, 0);
  EXPECT_NE(a.input_hash, b.input_hash);
  EXPECT_EQ(a.input_hash, of({image_row(test::read_text(data / "q95.jpg"))}).input_hash);
}

// At every length, a row is the start of the whole one, with whole images.
TEST_F(MeasureTest, RowsAreCutNeverInsideAnImage) {
  fs::copy_file(test::repo_dir() / "tests/data/images/rgb.png", dir_.path() / "a.png");
  const io::Checkpoint checkpoint = io::Checkpoint::open(dir_.path());
  const qwen3_vl::Processor processor(checkpoint,
                                      qwen3_vl::parse_config(checkpoint.config(), "config.json"));
  const auto id = [&](const char* token) { return *processor.tokenizer().token_id(token); };
  for (const bool image_first : {false, true}) {
    Conversation row = parse_conversation(
        std::string(R"({"messages": [{"role": "user", "content": [)") +
            (image_first ? "" : R"({"type": "text", "text": "what is this?"},)") +
            R"({"image": "a.png"}, {"type": "text", "text": "and"}, {"image": "a.png"}]}]})",
        dir_.path(), "row");
    const qwen3_vl::ModelInput whole = model_input(row, processor);
    EXPECT_FALSE(whole.cut);
    ASSERT_EQ(whole.runs.size(), 2u);
    std::vector<size_t> images_seen;
    for (row.max_tokens = 1; row.max_tokens <= whole.tokens(); ++row.max_tokens) {
      const qwen3_vl::ModelInput input = model_input(row, processor);
      EXPECT_LE(input.tokens(), row.max_tokens);
      EXPECT_EQ(input.cut, row.max_tokens < whole.tokens());
      EXPECT_TRUE(std::equal(input.ids.begin(), input.ids.end(), whole.ids.begin()));
      EXPECT_EQ(input.positions.tokens.size(), input.ids.size());
      EXPECT_EQ(input.images.size(), input.runs.size());
      EXPECT_EQ(std::ranges::count(input.ids, id("<|image_pad|>")), input.image_tokens());
      EXPECT_EQ(std::ranges::count(input.ids, id("<|vision_start|>")),
                std::ranges::count(input.ids, id("<|vision_end|>")));
      images_seen.push_back(input.runs.size());
      if (input.runs.empty()) {
        EXPECT_EQ(input.tokens() == 0, image_first);
      }
    }
    EXPECT_TRUE(std::ranges::is_sorted(images_seen));
    EXPECT_EQ(std::ranges::count(images_seen, 0u), whole.runs[0].begin + whole.runs[0].tokens);
    EXPECT_EQ(images_seen.back(), 2u);
  }
}

TEST_F(MeasureTest, RowsWithoutTokensAreLeftOut) {
  std::vector<Conversation> rows = {
      row("hello"), row("hello"),
      image_row(test::read_text(test::repo_dir() / "tests/data/images/rgb.png")),
      parse_conversation(R"({"text": ""})", dir_.path(), "row")};
  rows[1].max_tokens = 4;
  rows[2].max_tokens = 5;
  const CalibrationSize size = of(rows);
  EXPECT_EQ(size.left_out, (std::vector<size_t>{2, 3}));
  EXPECT_EQ(size.rows, 2);
  EXPECT_EQ(size.cut_rows, 1);
  EXPECT_EQ(size.image_tokens, 0);
}

TEST_F(MeasureTest, ImagesCanBeHeldByTheRow) {
  const std::string png = test::read_text(test::repo_dir() / "tests/data/images/rgb.png");
  Conversation held = image_row(png);
  const CalibrationSize file = of({held});
  held.images[0] = {.path = "somewhere", .bytes = std::make_shared<const std::string>(png)};
  const CalibrationSize bytes = of({held});
  EXPECT_EQ(bytes.input_hash, file.input_hash);
  EXPECT_EQ(bytes.held_bytes, static_cast<int64_t>(png.size()));
  EXPECT_EQ(file.held_bytes, 0);
}

TEST_F(MeasureTest, StatesInAFileAreThoseInMemory) {
  const std::vector<Conversation> rows = {
      row("hello"), image_row(test::read_text(test::repo_dir() / "tests/data/images/rgb.png"))};
  const CalibrationSize size = of(rows);
  EXPECT_EQ(size.images, 1);
  const io::Checkpoint checkpoint = io::Checkpoint::open(dir_.path());
  const qwen3_vl::Config config = qwen3_vl::parse_config(checkpoint.config(), "config.json");
  const qwen3_vl::Processor processor(checkpoint, config);
  const qwen3_vl::Weights weights(checkpoint);
  const BackendPtr backend = open_backend({.threads = 2});
  Arena scratch(*backend);
  Context cx{.backend = *backend, .scratch = scratch};
  const qwen3_vl::DecoderBlock block(qwen3_vl::DecoderBlockWeights::load(weights, config.text, 0),
                                     config.text, 0, *backend);
  const auto after_a_layer = [&](const KeptStates& keep) {
    Activations states(
        cx, rows, processor, weights, config, [](int64_t) {}, keep);
    states.advance(cx, block, &block, 0, [](int64_t) {});
    std::vector<float> values;
    for (const Activations::Chunk& chunk : states.chunks()) {
      for (const Tensor& t : {chunk.hidden, chunk.target}) {
        values.insert(values.end(), t.span<float>().begin(), t.span<float>().end());
      }
    }
    return values;
  };
  io::ScratchFile file(dir_.path(), Activations::file_bytes(size, config, true));
  const std::vector<float> in_memory = after_a_layer({.paired = true});
  EXPECT_EQ(in_memory.size(), static_cast<size_t>(2 * size.tokens * config.text.hidden));
  EXPECT_EQ(after_a_layer({.paired = true, .file = &file}), in_memory);
}

}  // namespace
}  // namespace squint::quantize
