#include "backends/cpu/code_weight.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "backends/cpu/fast_kernel_table.h"
#include "base/random.h"
#include "core/packed_int.h"

namespace squint::cpu {
namespace {

// Where a strip holds the code of a weight; see fast_kernel_args.h.
int code_at(const CodeStrips& w, int64_t row, int64_t column) {
  const int64_t panel = row % kStripRows / 16;
  const int64_t lane = row % 16;
  const int64_t block = column / kCodeBlock;
  const int64_t eighth = column % kCodeBlock / 8;
  const int64_t place = column % 8;
  const uint8_t* at = w.codes + ((row / kStripRows * w.blocks + block) * kStripPanels + panel) *
                                    panel_block_bytes(w.bits);
  if (w.bits == 4) {
    const uint8_t both = at[eighth * 64 + lane * 4 + place / 2];
    return place % 2 == 0 ? both & 15 : both >> 4;
  }
  return at[(eighth * 2 + place % 2) * 64 + lane * 4 + place / 2];
}

class CodeWeights : public ::testing::Test {
 protected:
  void check_packed(const QuantizationScheme& scheme, int64_t rows, int64_t columns) {
    Random random(1);
    const auto code = [&] {
      return static_cast<int8_t>(static_cast<int>(random.below(1U << scheme.bits)) +
                                 scheme.lowest());
    };
    const QuantizedWeight q = QuantizedWeight::on_host(rows, columns, scheme);
    for (int8_t& c : q.codes.span<int8_t>()) c = code();
    for (int8_t& z : q.zero_points.span<int8_t>()) z = scheme.symmetric ? int8_t{0} : code();
    for (bf16& s : q.scales.span<bf16>()) s = to_bf16(static_cast<float>(random.uniform()));
    const LinearWeight weight{
        .out_features = rows, .in_features = columns, .weight = pack_linear(q, scheme), .bias = {}};
    const auto made = CodeWeight::make(weight, memory_, threads_);
    const CodeStrips& w = made->strips();
    const int middle = 1 << (scheme.bits - 1);
    for (int64_t row = 0; row < rows; ++row) {
      for (int64_t column = 0; column < columns; ++column) {
        ASSERT_EQ(code_at(w, row, column),
                  q.codes.span<int8_t>()[static_cast<size_t>(row * columns + column)] + middle)
            << row << ", " << column;
      }
      const int64_t groups = scheme.groups(columns);
      for (int64_t group = 0; group < groups; ++group) {
        const auto from = static_cast<size_t>(row * groups + group);
        const int64_t at = (row / kStripRows * w.groups + group) * kStripRows + row % kStripRows;
        ASSERT_EQ(w.scales[at], q.scales.span<bf16>()[from].bits);
        if (w.zeros == nullptr) continue;
        ASSERT_EQ(w.zeros[at], q.zero_points.span<int8_t>()[from] + middle);
      }
    }
    EXPECT_EQ(w.zeros == nullptr, scheme.symmetric);
  }

  ThreadPool threads_{2};
  WeightMemory memory_;
};

TEST_F(CodeWeights, FourBitsKeepTheirWords) {
  check_packed({.bits = 4, .group_size = 32, .symmetric = true}, 70, 96);
  check_packed({.bits = 4, .group_size = 64, .symmetric = false}, 64, 128);
  check_packed({.bits = 4, .group_size = 0, .symmetric = true}, 17, 45);
}

TEST_F(CodeWeights, EightBitsHaveEvenColumnsFirst) {
  check_packed({.bits = 8, .group_size = 128, .symmetric = false}, 80, 256);
  check_packed({.bits = 8, .group_size = 0, .symmetric = true}, 3, 33);
}

TEST_F(CodeWeights, SixteenBitsAreRoundedByGroups) {
  constexpr int64_t kRows = 5;
  constexpr int64_t kColumns = 100;
  Random random(2);
  std::vector<bf16> values;
  for (int64_t i = 0; i < kRows * kColumns; ++i) {
    values.push_back(to_bf16(static_cast<float>(random.uniform() - 0.5) * (i % 100 < 64 ? 1 : 9)));
  }
  const LinearWeight weight{.out_features = kRows,
                            .in_features = kColumns,
                            .weight = Tensor::copy_of<bf16>(values, {kRows, kColumns}),
                            .bias = {},
                            .eight_bits_do = true};
  const auto made = CodeWeight::make(weight, memory_, threads_);
  const CodeStrips& w = made->strips();
  ASSERT_EQ(w.groups, 2);
  for (int64_t row = 0; row < kRows; ++row) {
    for (int64_t column = 0; column < kColumns; ++column) {
      const float scale = to_float(bf16{w.scales[column / 64 * kStripRows + row]});
      const float x = to_float(values[static_cast<size_t>(row * kColumns + column)]);
      const auto found = static_cast<float>(code_at(w, row, column) - 128) * scale;
      ASSERT_LE(std::fabs(found - x), scale * 0.51f) << row << ", " << column;
    }
  }
}

TEST_F(CodeWeights, SizesAreWhatIsTaken) {
  const WeightForm form{.out_features = 100,
                        .in_features = 256,
                        .scheme = QuantizationScheme{.bits = 4, .group_size = 128}};
  // 128 rows of 128 bytes and two scales of two bytes.
  EXPECT_EQ(CodeWeight::size_of(form).kept, 128 * (128 + 2 * 2));
}

TEST_F(CodeWeights, TakesWholeBlocks) {
  const auto takes = [](int64_t group, int64_t in) {
    return CodeWeight::takes({.out_features = 8,
                              .in_features = in,
                              .scheme = QuantizationScheme{.bits = 4, .group_size = group}});
  };
  EXPECT_TRUE(takes(32, 96));
  EXPECT_TRUE(takes(0, 33));
  EXPECT_FALSE(takes(40, 520));
  EXPECT_FALSE(CodeWeight::takes({.out_features = 8, .in_features = 8}));
  EXPECT_TRUE(CodeWeight::takes({.out_features = 8, .in_features = 8, .eight_bits_do = true}));
}

TEST(FastKernelTable, TheBestThatRuns) {
  EXPECT_EQ(select_fast_kernels({}, "")->name, "scalar");
  EXPECT_EQ(select_fast_kernels({}, "avx2"), nullptr);
#if defined(__x86_64__)
  EXPECT_EQ(select_fast_kernels({.avx2 = true, .avx512 = true}, "")->name, "avx2");
  EXPECT_EQ(select_fast_kernels({.avx2 = true, .avx_vnni = true}, "")->name, "avxvnni");
#endif
}

}  // namespace
}  // namespace squint::cpu
