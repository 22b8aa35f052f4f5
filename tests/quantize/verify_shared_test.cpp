#include <gtest/gtest.h>

#include "squint/verify.h"
#include "support/paths.h"

namespace squint {
namespace {

TEST(VerifyShared, WhatLlmCompressorWroteIsSound) {
  const auto shared = test::shared_data();
  if (!shared) GTEST_SKIP() << test::kNoShared;
  const Verification found = verify_checkpoint(
      {.checkpoint = *shared / "llm-compressor-awq", .base = *shared / "tiny-qwen3-vl-ocr"});
  EXPECT_EQ(found.problem_count(), 0) << found.to_text();
  EXPECT_EQ(found.packed_layers, 42);
  EXPECT_NEAR(found.bits, 4.126, 0.001);
  for (const VerifiedLinear& linear : found.linears) {
    EXPECT_NEAR(linear.excess, 1, 0.05) << linear.module;
    EXPECT_LT(linear.error, 0.14) << linear.module;
  }
}

}  // namespace
}  // namespace squint
