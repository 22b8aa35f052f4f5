#include "machine/system_facts.h"

#include <gtest/gtest.h>

namespace squint::machine {
namespace {

constexpr const char* kCpu =
    "processor\t: 0\nmodel name\t: A CPU @ 2.0GHz\nflags\t\t: fpu avx2 fma avx512f\n\n"
    "processor\t: 1\nmodel name\t: Another\nflags\t\t: fpu\n";

TEST(SystemFacts, OfTheFirstProcessor) {
  EXPECT_EQ(processor_name(kCpu), "A CPU @ 2.0GHz");
  EXPECT_EQ(instruction_sets(kCpu, {"avx", "avx2", "avx512f", "amx_int8"}),
            (std::vector<std::string>{"avx2", "avx512f"}));
  EXPECT_EQ(processor_name(""), "");
  EXPECT_TRUE(instruction_sets("nothing", {"avx2"}).empty());
}

TEST(SystemFacts, Memory) {
  const char* text = "MemTotal:       24576000 kB\nMemFree:         1 kB\nMemAvailable:   77 kB";
  EXPECT_EQ(memory_fact(text, "MemTotal"), int64_t{24576000} * 1024);
  EXPECT_EQ(memory_fact(text, "MemAvailable"), 77 * 1024);
  EXPECT_EQ(memory_fact(text, "Mem"), std::nullopt);
  EXPECT_EQ(memory_fact("MemTotal: lots", "MemTotal"), std::nullopt);
  EXPECT_EQ(memory_fact("MemTotal: 9223372036854775807 kB", "MemTotal"), std::nullopt);
  EXPECT_EQ(container_limit("4294967296\n"), int64_t{4} << 30);
  EXPECT_EQ(container_limit("max\n"), std::nullopt);
  EXPECT_EQ(container_limit(""), std::nullopt);
}

TEST(SystemFacts, GraphicsCard) {
  EXPECT_EQ(graphics_card_name("Model: \t\t NVIDIA H200\nIRQ: 1\n"), "NVIDIA H200");
}

}  // namespace
}  // namespace squint::machine
