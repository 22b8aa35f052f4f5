#include "backends/cpu/kernel_table.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

namespace squint::cpu {
namespace {

constexpr CpuFeatures kNone{};
constexpr CpuFeatures kAvx2{.avx2 = true};
constexpr CpuFeatures kAvx512{.avx2 = true, .avx512 = true};

TEST(KernelTable, NamesAreDistinctAndTablesComplete) {
  std::set<std::string_view> names;
  for (const KernelTable* table : kernel_tables()) {
    EXPECT_TRUE(names.insert(table->name).second) << table->name;
    EXPECT_TRUE(table->gemm && table->attention && table->rms_norm && table->layer_norm &&
                table->rotate && table->pointwise && table->add_second_moment &&
                table->add_abs_sum && table->dot && table->quantize && table->quantization_error)
        << table->name;
  }
}

TEST(KernelTable, TheLastOneRunsEverywhere) {
  EXPECT_EQ(kernel_tables().back()->name, "scalar");
  EXPECT_EQ(select_kernels(kNone, ""), kernel_tables().back());
  EXPECT_EQ(select_kernels(kNone, "scalar"), kernel_tables().back());
}

TEST(KernelTable, UnknownNamesGiveNothing) {
  EXPECT_EQ(select_kernels(kAvx512, "neon"), nullptr);
  EXPECT_EQ(select_kernels(kAvx512, "avx"), nullptr) << "a prefix is not a name";
  EXPECT_EQ(select_kernels(kAvx512, "AVX2"), nullptr);
}

#if defined(__x86_64__)
TEST(KernelTable, TheBestThatRuns) {
  EXPECT_EQ(select_kernels(kAvx512, "")->name, "avx512");
  EXPECT_EQ(select_kernels(kAvx2, "")->name, "avx2");
}

TEST(KernelTable, ForcingTakesALesserTable) {
  EXPECT_EQ(select_kernels(kAvx512, "avx2")->name, "avx2");
  EXPECT_EQ(select_kernels(kAvx512, "scalar")->name, "scalar");
}

TEST(KernelTable, ForcingNeedsTheFeatures) {
  EXPECT_EQ(select_kernels(kAvx2, "avx512"), nullptr);
  EXPECT_EQ(select_kernels(kNone, "avx2"), nullptr);
}
#endif

}  // namespace
}  // namespace squint::cpu
