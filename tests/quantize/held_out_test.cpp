// Which rows are held out, that no layer is calibrated on them, and what is measured on them.
#include "quantize/held_out.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "io/checkpoint.h"
#include "io/error_of.h"
#include "support/json.h"
#include "support/paths.h"
#include "support/tiny_checkpoint.h"

namespace squint {
namespace {

namespace fs = std::filesystem;
using quantize::Conversation;
using quantize::hold_out;
using test::error_of;
using test::says;

// Every second one with an answer.
std::vector<Conversation> some_rows(size_t count) {
  std::vector<Conversation> rows(count);
  for (size_t i = 0; i < count; ++i) {
    rows[i].where = std::to_string(i);
    rows[i].messages = {{.role = "user"}};
    if (i % 2 == 0) rows[i].messages.push_back({.role = "assistant"});
  }
  return rows;
}

std::vector<std::string> names(const std::vector<Conversation>& rows) {
  std::vector<std::string> out;
  for (const Conversation& row : rows) out.push_back(row.where);
  return out;
}

TEST(HoldOut, TakesEvenlySpreadRowsWithAnswers) {
  std::vector<Conversation> rows = some_rows(12);
  EXPECT_EQ(names(hold_out(3, rows)), (std::vector<std::string>{"2", "6", "10"}));
  EXPECT_EQ(names(rows), (std::vector<std::string>{"0", "1", "3", "4", "5", "7", "8", "9", "11"}));
  rows = some_rows(4);
  EXPECT_EQ(names(hold_out(2, rows)), (std::vector<std::string>{"0", "2"}));
}

TEST(HoldOut, ATenthUnlessTheSetIsSmall) {
  const auto held = [](size_t answered) {
    std::vector<Conversation> rows = some_rows(2 * answered);
    const size_t count = hold_out(std::nullopt, rows).size();
    EXPECT_EQ(rows.size() + count, 2 * answered);
    return count;
  };
  EXPECT_EQ(held(0), 0u);
  EXPECT_EQ(held(79), 0u);
  EXPECT_EQ(held(80), 8u);
  EXPECT_EQ(held(129), 12u);
  EXPECT_EQ(held(4000), 64u);
}

TEST(HoldOut, MoreThanThereAreIsRefused) {
  std::vector<Conversation> rows = some_rows(6);
  EXPECT_TRUE(says(error_of(ErrorCode::usage, [&] { hold_out(4, rows); }),
                   "held out: expected 0 to 3 rows, found 4: 3 of 6 calibration rows have an "
                   "answer"));
  error_of(ErrorCode::usage, [&] { hold_out(-1, rows); });
  rows = some_rows(1);
  error_of(ErrorCode::usage, [&] { hold_out(1, rows); });
  EXPECT_EQ(rows.size(), 1u);
}

class TinyHeldOut : public ::testing::Test {
 protected:
  TinyHeldOut() {
    fs::create_directories(dir_.path() / "model");
    test::tiny_checkpoint(5).write(dir_.path() / "model");
    fs::copy_file(test::repo_dir() / "tests/data/images/rgb.png", dir_.path() / "a.png");
    for (int i = 0; i < 6; ++i) {
      lines_.push_back(R"({"messages": [{"role": "user", "content": [)" +
                       std::string(i % 2 == 0 ? R"({"type": "image", "image": "a.png"}, )" : "") +
                       R"({"type": "text", "text": "what is number )" + std::to_string(i) +
                       R"(?"}]}, {"role": "assistant", "content": "it is )" +
                       std::to_string(7 * i + 3) + R"(."}]})" + "\n");
    }
    write("all.jsonl", {0, 1, 2, 3, 4, 5});
  }

  void write(const std::string& name, const std::vector<size_t>& lines) const {
    std::string text;
    for (const size_t line : lines) text += lines_[line];
    test::write_text(dir_.path() / name, text);
  }
  QuantizeOptions options(const std::string& output, const std::string& rows) const {
    return {.model = dir_.path() / "model",
            .output = dir_.path() / output,
            .calibration = {{dir_.path() / rows}},
            .group_size = 16};
  }
  std::string weights(const std::string& output) const {
    return test::read_text(dir_.path() / output / "model.safetensors");
  }

  BackendPtr backend_ = open_backend({.threads = 2});
  std::vector<std::string> lines_;
  test::TempDir dir_;
};

TEST_F(TinyHeldOut, NoLayerIsCalibratedOnThem) {
  QuantizeOptions o = options("held", "all.jsonl");
  o.held_out = 2;  // 1 and 4
  const QuantizeReport held = quantize_checkpoint(o, *backend_);
  write("less.jsonl", {0, 2, 3, 5});
  const QuantizeReport less = quantize_checkpoint(options("less", "less.jsonl"), *backend_);
  const QuantizeReport all = quantize_checkpoint(options("all", "all.jsonl"), *backend_);
  EXPECT_EQ(weights("held"), weights("less"));
  EXPECT_NE(weights("held"), weights("all"));
  EXPECT_EQ(held.calibration_hash, less.calibration_hash);
  EXPECT_EQ(held.plan.rows, 4);
  EXPECT_EQ(held.plan.held_out_rows, 2);
  EXPECT_FALSE(less.held_out);  // too few to hold any out
  EXPECT_NE(held.recipe.find("# squint: calibration held out 2"), std::string::npos);
  ASSERT_TRUE(held.held_out);
  EXPECT_EQ(held.held_out->rows, 2);
  EXPECT_GT(held.held_out->quantized.tokens, 4);
  EXPECT_GT(held.held_out->quantized.kl, 0);
}

TEST_F(TinyHeldOut, AContinuedRunMeasuresTheSame) {
  QuantizeOptions o = options("whole", "all.jsonl");
  o.held_out = 2;
  QuantizeProgress last;
  bool measured = false;
  o.on_progress = [&](const QuantizeProgress& p) {
    EXPECT_LE(p.done, p.total);
    EXPECT_GE(p.done, last.done);
    measured = measured || p.phase == "held-out rows";
    last = p;
  };
  const QuantizeReport whole = quantize_checkpoint(o, *backend_);
  EXPECT_TRUE(measured);
  EXPECT_EQ(last.done, last.total);
  for (const char* phase : {"layer 2 of 2", "held-out rows"}) {
    o = options("out", "all.jsonl");
    o.held_out = 2;
    std::stop_source source;
    o.stop = source.get_token();
    o.on_progress = [&](const QuantizeProgress& p) {
      if (p.phase == phase) source.request_stop();
    };
    error_of(ErrorCode::interrupted, [&] { quantize_checkpoint(o, *backend_); });
    EXPECT_FALSE(fs::exists(o.output));
    o.stop = {};
    const QuantizeReport report = quantize_checkpoint(o, *backend_);
    EXPECT_GT(report.plan.resumed_layers, 0);
    EXPECT_EQ(weights("out"), weights("whole"));
    EXPECT_EQ(test::json_of(report.to_json())["held_out"],
              test::json_of(whole.to_json())["held_out"]);
    fs::remove_all(o.output);
  }
}

}  // namespace
}  // namespace squint
