#include "models/qwen3_vl/positions.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "squint/error.h"

namespace squint::qwen3_vl {
namespace {

using Places = std::vector<std::pair<int64_t, int64_t>>;

// Spec qwen3-vl.md A.3: grid rows and columns of consecutive patches, 4 x 6.
const Places kBlockOrder = {{0, 0}, {0, 1}, {1, 0}, {1, 1}, {0, 2}, {0, 3}, {1, 2}, {1, 3},
                            {0, 4}, {0, 5}, {1, 4}, {1, 5}, {2, 0}, {2, 1}, {3, 0}, {3, 1},
                            {2, 2}, {2, 3}, {3, 2}, {3, 3}, {2, 4}, {2, 5}, {3, 4}, {3, 5}};
constexpr Grid kSmallGrid{1, 4, 6};

TextConfig text_config() {
  TextConfig c;
  c.head_dim = 128;
  c.rope_theta = 5e6;
  c.mrope_section = {24, 20, 20};
  return c;
}

VisionConfig vision_config(int64_t hidden, int64_t heads) {
  VisionConfig c;
  c.hidden = hidden;
  c.heads = heads;
  c.positions = 48 * 48;
  c.merge_size = 2;
  return c;
}

ImageRun run_at(int64_t begin, int64_t h, int64_t w) {
  return {.begin = begin, .tokens = h * w / 4, .grid = {1, h, w}};
}

// The angle behind a table entry, for angles between -pi and pi.
double angle(const RotaryTable& table, int64_t row, int64_t i) {
  const int64_t at = row * table.sine.dim(1) + i;
  return std::atan2(table.sine.span<float>()[at], table.cosine.span<float>()[at]);
}

TEST(PromptPositions, TextCountsUp) {
  const PromptPositions p = prompt_positions(3, {}, 2);
  EXPECT_EQ(p.tokens, (std::vector<Position>{{0, 0, 0}, {1, 1, 1}, {2, 2, 2}}));
  EXPECT_EQ(p.next, 3);
  EXPECT_EQ(p.delta(), 0);
}

TEST(PromptPositions, ImageInsideText) {
  const std::vector<ImageRun> runs = {run_at(4, 4, 6)};
  const PromptPositions p = prompt_positions(19, runs, 2);
  std::vector<Position> expected;
  for (int64_t i = 0; i < 4; ++i) expected.push_back({i, i, i});
  expected.insert(expected.end(),
                  {{4, 4, 4}, {4, 4, 5}, {4, 4, 6}, {4, 5, 4}, {4, 5, 5}, {4, 5, 6}});
  for (int64_t i = 7; i < 16; ++i) expected.push_back({i, i, i});
  EXPECT_EQ(p.tokens, expected);
  EXPECT_EQ(p.next, 16);
  EXPECT_EQ(p.delta(), -3);
}

TEST(PromptPositions, FullHdImage) {
  const std::vector<ImageRun> runs = {run_at(4, 68, 120)};
  const PromptPositions p = prompt_positions(2054, runs, 2);
  EXPECT_EQ(p.tokens[4], (Position{4, 4, 4}));
  EXPECT_EQ(p.tokens[4 + 59], (Position{4, 4, 63}));
  EXPECT_EQ(p.tokens[4 + 60], (Position{4, 5, 4}));
  EXPECT_EQ(p.tokens[4 + 2039], (Position{4, 37, 63}));
  EXPECT_EQ(p.tokens[2044], (Position{64, 64, 64}));
  EXPECT_EQ(p.tokens[2053], (Position{73, 73, 73}));
  EXPECT_EQ(p.next, 74);
  EXPECT_EQ(p.delta(), -1980);
}

TEST(PromptPositions, TwoImagesOfWhichOneIsTallAndOneIsLast) {
  const std::vector<ImageRun> runs = {run_at(1, 6, 2), run_at(5, 2, 4)};
  const PromptPositions p = prompt_positions(7, runs, 2);
  EXPECT_EQ(p.tokens,
            (std::vector<Position>{
                {0, 0, 0}, {1, 1, 1}, {1, 2, 1}, {1, 3, 1}, {4, 4, 4}, {5, 5, 5}, {5, 5, 6}}));
  EXPECT_EQ(p.next, 7);  // the longer side, 2, past 5
  EXPECT_EQ(p.delta(), 0);
}

TEST(PromptPositions, ImagesWithoutTextBetween) {
  const std::vector<ImageRun> runs = {run_at(0, 2, 2), run_at(1, 2, 2)};
  EXPECT_EQ(prompt_positions(2, runs, 2).tokens, (std::vector<Position>{{0, 0, 0}, {1, 1, 1}}));
}

TEST(PromptPositions, AppendingDoesNotMoveWhatIsThere) {
  const std::vector<ImageRun> runs = {run_at(2, 4, 4), run_at(9, 2, 6)};
  const PromptPositions shorter = prompt_positions(8, std::span(runs).first(1), 2);
  const PromptPositions longer = prompt_positions(15, runs, 2);
  for (size_t i = 0; i < shorter.tokens.size(); ++i) EXPECT_EQ(shorter.tokens[i], longer.tokens[i]);
  EXPECT_EQ(longer.tokens[8], (Position{shorter.next, shorter.next, shorter.next}));
}

TEST(PromptPositions, RunsMustFitTheirGridAndThePrompt) {
  std::vector<ImageRun> runs = {run_at(0, 4, 4)};
  EXPECT_THROW(prompt_positions(3, runs, 2), InternalError);
  runs[0].tokens = 3;
  EXPECT_THROW(prompt_positions(4, runs, 2), InternalError);
}

// Which axis each frequency listens to: three tokens, each away from zero on one axis only.
std::string axis_map(const TextConfig& config) {
  const std::vector<Position> one_each = {{1, 0, 0}, {0, 1, 0}, {0, 0, 1}};
  const RotaryTable table = text_rotary(one_each, config);
  std::string map;
  for (int64_t i = 0; i < config.head_dim / 2; ++i) {
    std::string moved;
    for (int64_t axis = 0; axis < 3; ++axis) {
      if (angle(table, axis, i) != 0) moved += "THW"[axis];
    }
    map += moved.size() == 1 ? moved : "?";
  }
  return map;
}

TEST(TextRotary, AxesAreInterleaved) {
  EXPECT_EQ(axis_map(text_config()),
            "THWTHWTHWTHWTHWTHWTHWTHWTHWTHWTHWTHWTHWTHWTHWTHWTHWTHWTHWTHWTTTT");
  TextConfig small = text_config();
  small.head_dim = 64;
  small.mrope_section = {12, 10, 10};
  EXPECT_EQ(axis_map(small), "THWTHWTHWTHWTHWTHWTHWTHWTHWTHWTT");
}

TEST(TextRotary, Frequencies) {
  const std::vector<Position> positions = {{1, 1, 1}, {3, 3, 3}, {0, 0, 0}};
  const RotaryTable table = text_rotary(positions, text_config());
  EXPECT_EQ(table.cosine.shape(), (Shape{3, 64}));
  EXPECT_NEAR(angle(table, 0, 0), 1.0, 1e-6);
  EXPECT_NEAR(angle(table, 0, 1), 0.78582998, 1e-6);
  EXPECT_NEAR(angle(table, 0, 2), 0.61752876, 1e-6);
  EXPECT_NEAR(angle(table, 0, 63), 2.5450798e-7, 1e-13);
  EXPECT_NEAR(angle(table, 1, 1), 3 * 0.78582998, 2e-6);
  EXPECT_EQ(angle(table, 2, 5), 0.0);
  EXPECT_EQ(table.cosine.span<float>()[2 * 64], 1.0f);
}

// In half precision, or with the fast sine of some compilers, this position is lost.
TEST(TextRotary, LastPositionOfTheContextKeepsItsAngle) {
  const std::vector<Position> positions = {{262143, 262143, 262143}};
  const RotaryTable table = text_rotary(positions, text_config());
  EXPECT_NEAR(table.sine.span<float>()[0], std::sin(262143.0), 1e-6);
  EXPECT_NEAR(table.cosine.span<float>()[0], std::cos(262143.0), 1e-6);
}

TEST(VisionRotary, PatchesAreInBlockOrder) {
  const RotaryTable table = vision_rotary(kSmallGrid, vision_config(128, 2));
  ASSERT_EQ(table.sine.shape(), (Shape{24, 32}));
  Places found;
  for (int64_t row = 0; row < 24; ++row) {
    // Frequency 4 of 16 is 0.1 for d = 64; columns follow the rows.
    found.emplace_back(std::lround(angle(table, row, 4) / 0.1),
                       std::lround(angle(table, row, 16 + 4) / 0.1));
  }
  EXPECT_EQ(found, kBlockOrder);
}

TEST(VisionRotary, Frequencies) {
  const std::vector<double> d64 = {1, 0.562341, 0.316228, 0.177828, 0.1};
  const std::vector<double> d72 = {1, 0.599484, 0.359381, 0.215443, 0.129155};
  const RotaryTable of64 = vision_rotary(kSmallGrid, vision_config(128, 2));
  const RotaryTable of72 = vision_rotary(kSmallGrid, vision_config(144, 2));
  ASSERT_EQ(of72.sine.dim(1), 36);
  for (int64_t k = 0; k < 5; ++k) {
    EXPECT_NEAR(angle(of64, 3, k), d64[k], 1e-6);  // patch (1, 1)
    EXPECT_NEAR(angle(of64, 3, 16 + k), d64[k], 1e-6);
    EXPECT_NEAR(angle(of72, 3, k), d72[k], 1e-6);
    EXPECT_NEAR(angle(of72, 3, 18 + k), d72[k], 1e-6);
    EXPECT_EQ(angle(of64, 1, k), 0.0);  // patch (0, 1): no row
    EXPECT_NEAR(angle(of64, 1, 16 + k), d64[k], 1e-6);
  }
}

// A table whose rows say where they are: row, column, 1, row².
Tensor telling_table() {
  std::vector<float> values;
  for (int ty = 0; ty < 48; ++ty) {
    for (int tx = 0; tx < 48; ++tx) {
      for (const int x : {ty, tx, 1, ty * ty}) values.push_back(static_cast<float>(x));
    }
  }
  return Tensor::copy_of<float>(values, {48 * 48, 4});
}

VisionConfig telling_config() { return vision_config(4, 1); }

TEST(InterpolatedPositions, PatchesAreInBlockOrder) {
  const Tensor out = interpolated_positions(telling_table(), kSmallGrid, telling_config());
  ASSERT_EQ(out.shape(), (Shape{24, 4}));
  for (size_t row = 0; row < kBlockOrder.size(); ++row) {
    const auto& [y, x] = kBlockOrder[row];
    EXPECT_NEAR(out.span<float>()[row * 4], static_cast<double>(y) * 47 / 3, 1e-5);
    EXPECT_NEAR(out.span<float>()[row * 4 + 1], static_cast<double>(x) * 47 / 5, 1e-5);
  }
}

// The interpolated row of grid row i of n, in a grid two patches wide.
std::array<float, 4> at_row(int64_t i, int64_t n) {
  const Tensor out = interpolated_positions(telling_table(), {1, n, 2}, telling_config());
  const int64_t row = i / 2 * 4 + i % 2 * 2;
  std::array<float, 4> values{};
  std::copy_n(out.span<float>().begin() + row * 4, 4, values.begin());
  return values;
}

TEST(InterpolatedPositions, CheckValuesWithAlignedCorners) {
  struct Case {
    int64_t n, i;
    double source;
  };
  for (const Case& c : {Case{16, 1, 3.133333}, Case{20, 1, 2.473684}, Case{48, 17, 17},
                        Case{64, 1, 0.746032}, Case{68, 2, 1.402985}, Case{120, 1, 0.394958}}) {
    const auto found = at_row(c.i, c.n);
    EXPECT_NEAR(found[0], c.source, 2e-6) << c.n;
    EXPECT_NEAR(found[2], 1.0, 1e-6) << c.n;  // the weights share one whole
    // Two taps, one on either side: a square is not interpolated to a square.
    const double low = std::floor(c.source);
    const double second = c.source - low;
    EXPECT_NEAR(found[3], (1 - second) * low * low + second * (low + 1) * (low + 1), 1e-4) << c.n;
  }
}

TEST(InterpolatedPositions, CornersAreTheTablesCorners) {
  for (const int64_t n : {2, 16, 20, 48, 64, 68, 120}) {
    EXPECT_EQ(at_row(0, n)[0], 0.0f) << n;
    EXPECT_EQ(at_row(n - 1, n)[0], 47.0f) << n;
    EXPECT_EQ(at_row(n - 1, n)[3], 47.0f * 47.0f) << n;
  }
}

TEST(InterpolatedPositions, GridOfTheTablesSizeIsTheTable) {
  const Tensor out = interpolated_positions(telling_table(), {1, 48, 48}, telling_config());
  EXPECT_EQ(out.span<float>()[4 * 3], 1.0f);  // fourth patch of the first block: (1, 1)
  EXPECT_EQ(out.span<float>()[4 * 3 + 1], 1.0f);
  EXPECT_EQ(out.span<float>()[4 * (48 * 48 - 2)], 47.0f);  // third of the last: (47, 46)
  EXPECT_EQ(out.span<float>()[4 * (48 * 48 - 2) + 1], 46.0f);
}

TEST(InterpolatedPositions, SingleRowIsTheFirst) {
  VisionConfig config = telling_config();
  config.merge_size = 1;
  const Tensor out = interpolated_positions(telling_table(), {1, 1, 3}, config);
  EXPECT_EQ(out.span<float>()[4], 0.0f);
  EXPECT_EQ(out.span<float>()[4 + 1], 23.5f);
}

TEST(InterpolatedPositions, ReadsTablesAsStored) {
  const Tensor wide = telling_table();
  Tensor table = Tensor::on_host(DType::bf16, wide.shape());
  for (int64_t i = 0; i < wide.numel(); ++i) {
    table.span<bf16>()[i] = to_bf16(wide.span<float>()[i]);  // rows and columns are exact
  }
  const Tensor out = interpolated_positions(table, kSmallGrid, telling_config());
  EXPECT_NEAR(out.span<float>()[4 * 2], 47.0 / 3, 1e-5);
}

}  // namespace
}  // namespace squint::qwen3_vl
