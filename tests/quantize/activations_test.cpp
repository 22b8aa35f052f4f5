#include "quantize/activations.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <numeric>
#include <string>

#include "io/error_of.h"
#include "squint/backend.h"
#include "support/paths.h"
#include "support/tiny_checkpoint.h"

namespace squint::quantize {
namespace {

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

}  // namespace
}  // namespace squint::quantize
