#include "squint/verify.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>

#include "io/error_of.h"
#include "quantize/foreign_checkpoint.h"
#include "squint/quantize.h"
#include "support/json.h"
#include "support/paths.h"
#include "support/tiny_checkpoint.h"

namespace squint {
namespace {

namespace fs = std::filesystem;
using test::ForeignPacking;

constexpr const char* kLayer = "model.language_model.layers.1.";

float alternating(int64_t i) { return i % 2 == 0 ? 4.0f : 0.5f; }
float undone(int64_t i) { return 1 / alternating(i); }

class VerifyTest : public ::testing::Test {
 protected:
  VerifyTest() {
    fs::create_directories(base_);
    fs::create_directories(checkpoint_);
    files_.write(base_);
  }

  Verification verified(int threads = 2) const {
    files_.write(checkpoint_);
    return verify_checkpoint({.checkpoint = checkpoint_, .base = base_, .threads = threads});
  }
  static const VerifiedLinear& linear(const Verification& in, const std::string& name) {
    return *std::ranges::find(in.linears, kLayer + name, &VerifiedLinear::module);
  }
  // All packed layers have one problem, which says this.
  static void expect_everywhere(const Verification& in, const std::string& what) {
    EXPECT_EQ(in.problem_count(), 14) << in.to_text();
    for (const VerifiedLinear& l : in.linears) {
      ASSERT_EQ(l.problems.size(), 1u) << l.module;
      EXPECT_TRUE(test::says(l.problems.front(), what)) << l.module;
    }
  }

  test::TinyCheckpoint files_ = test::tiny_checkpoint(31);
  test::TempDir dir_;
  fs::path base_ = dir_.path() / "base";
  fs::path checkpoint_ = dir_.path() / "quantized";
};

TEST_F(VerifyTest, OwnOutputIsSoundInEveryScheme) {
  const BackendPtr backend = open_backend({.threads = 1});
  for (const int bits : {4, 8}) {
    for (const bool symmetric : {true, false}) {
      const fs::path output = dir_.path() / (std::to_string(bits) + (symmetric ? "s" : "a"));
      quantize_checkpoint({.model = base_,
                           .output = output,
                           .method = QuantizeMethod::rtn,
                           .observer = RangeObserver::minmax,
                           .bits = bits,
                           .group_size = 16,
                           .symmetric = symmetric},
                          *backend);
      const Verification found = verify_checkpoint({.checkpoint = output, .base = base_});
      EXPECT_EQ(found.problem_count(), 0) << found.to_text();
      EXPECT_EQ(found.packed_layers, 14);
      EXPECT_GT(found.bits, bits + 1);
      for (const VerifiedLinear& l : found.linears) {
        EXPECT_NEAR(l.excess, 1.1, 0.2) << l.module;
        EXPECT_NEAR(l.error, bits == 4 ? 0.06 : 0.0035, bits == 4 ? 0.03 : 0.002) << l.module;
      }
    }
  }
}

TEST_F(VerifyTest, AutoAwqIsSoundAsItsFormatSays) {
  test::pack_foreign(files_, {});
  const Verification found = verified();
  EXPECT_EQ(found.problem_count(), 0) << found.to_text();
  EXPECT_EQ(found.format, "AutoAWQ, W4A16, groups of 16, asymmetric");
  // 4 bits, and 16 + 4 bits for each group of 16.
  EXPECT_DOUBLE_EQ(found.bits, 5.25);
  EXPECT_NEAR(linear(found, "mlp.down_proj").error, 0.05, 0.02);
}

TEST_F(VerifyTest, AutoAwqInTheWrongOrderIsSaidSo) {
  test::pack_foreign(files_, {.order = test::kInSequence});
  const Verification found = verified();
  expect_everywhere(found, "integers are packed in sequence, the format says interleaved");
  EXPECT_GT(linear(found, "self_attn.q_proj").error, 1);
}

TEST_F(VerifyTest, ZeroPointsOffByOneAreSaidSo) {
  test::pack_foreign(files_, {.zero_offset = -1});
  expect_everywhere(verified(), "zero points are stored one too low");
}

TEST_F(VerifyTest, GptqIsSoundInBothVersionsAndOrdersOfColumns) {
  const test::TinyCheckpoint original = files_;
  for (const bool shuffled : {false, true}) {
    for (const bool first : {true, false}) {
      files_ = original;
      test::pack_foreign(files_, {.gptq = true,
                                  .order = test::kInSequence,
                                  .zero_offset = first ? -1 : 0,
                                  .shuffled = shuffled});
      files_.patch("config.json", first
                                      ? R"({"quantization_config": {"checkpoint_format": "gptq"}})"
                                      : R"({"quantization_config": {"checkpoint_format":
                                              "gptq_v2"}})");
      const Verification found = verified();
      EXPECT_EQ(found.problem_count(), 0) << shuffled << first << found.to_text();
      EXPECT_NEAR(linear(found, "mlp.down_proj").error, 0.05, 0.02);
    }
  }
}

TEST_F(VerifyTest, GptqMistakesAreSaidSo) {
  const test::TinyCheckpoint original = files_;
  test::pack_foreign(files_, {.gptq = true, .order = test::kInSequence});
  expect_everywhere(verified(), "zero points are stored one too high");
  files_ = original;
  test::pack_foreign(files_, {.gptq = true, .order = ForeignPacking().order, .zero_offset = -1});
  expect_everywhere(verified(), "integers are packed interleaved, the format says in sequence");
  files_ = original;
  test::pack_foreign(files_, {.gptq = true, .order = {7, 6, 5, 4, 3, 2, 1, 0}, .zero_offset = -1});
  expect_everywhere(verified(), "integers are packed reversed");
  files_ = original;
  test::pack_foreign(files_, {.gptq = true, .order = test::kInSequence, .zero_offset = -1});
  const std::string name = std::string(kLayer) + "mlp.gate_proj.g_idx";
  files_.tensors[name] = Tensor::copy_of<int32_t>(std::vector<int32_t>(32, 0), {32});
  const Verification found = verified();
  EXPECT_EQ(found.problem_count(), 1);
  EXPECT_TRUE(test::says(linear(found, "mlp.gate_proj").problems.front(), "32 columns, not 16"));
}

TEST_F(VerifyTest, SmoothingIsUndoneBeforeWeightsAreCompared) {
  const std::string at = kLayer;
  for (const char* sink : {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"}) {
    test::scale_columns(files_, at + sink + ".weight", alternating);
  }
  test::scale_columns(files_, at + "input_layernorm.weight", undone);
  test::scale_rows(files_, at + "mlp.up_proj.weight", undone);
  test::scale_columns(files_, at + "mlp.down_proj.weight", alternating);
  const test::TinyCheckpoint smoothed = files_;
  test::pack_foreign(files_, {});
  EXPECT_EQ(verified().problem_count(), 0) << verified().to_text();

  // The factors of the norm are forgotten, or those of up_proj's rows.
  files_ = smoothed;
  files_.tensors[at + "input_layernorm.weight"] =
      test::tiny_checkpoint(31).tensors.at(at + "input_layernorm.weight");
  test::scale_rows(files_, at + "mlp.up_proj.weight", alternating);
  test::pack_foreign(files_, {});
  const Verification found = verified();
  EXPECT_EQ(found.problem_count(), 4) << found.to_text();
  for (const char* name : {"self_attn.q_proj", "self_attn.v_proj", "mlp.down_proj"}) {
    ASSERT_EQ(linear(found, name).problems.size(), 1u) << name;
    EXPECT_TRUE(
        test::says(linear(found, name).problems.front(), "columns are scaled by factors that"));
  }
}

TEST_F(VerifyTest, ScalesThatCannotBeAreCounted) {
  test::pack_foreign(files_, {});
  auto* scales = reinterpret_cast<uint16_t*>(
      files_.tensors.at(std::string(kLayer) + "mlp.up_proj.scales").raw());
  scales[0] = 0x7e00;  // NaN
  scales[1] = 0;
  scales[2] = 1;  // 2^-24
  scales[3] |= 0x8000;
  const Verification found = verified();
  const VerifiedLinear& up = linear(found, "mlp.up_proj");
  EXPECT_EQ(up.problems,
            (std::vector<std::string>{"1 of 96 scales are NaN or infinite", "1 of 96 scales are 0",
                                      "1 of 96 scales are negative"}));
  EXPECT_EQ(up.denormal_scales, 1);
  EXPECT_EQ(found.problem_count(), 3) << found.to_text();
}

TEST_F(VerifyTest, OtherWeightsAreNotRoundedOnes) {
  test::pack_foreign(files_, {});
  test::TinyCheckpoint other = test::tiny_checkpoint(32);
  test::pack_foreign(other, {});
  const std::string name = std::string(kLayer) + "self_attn.k_proj.qweight";
  files_.tensors[name] = other.tensors.at(name);
  const Verification found = verified();
  EXPECT_EQ(found.problem_count(), 1);
  EXPECT_TRUE(test::says(linear(found, "self_attn.k_proj").problems.front(),
                         "not those of the base model"));
}

TEST_F(VerifyTest, TensorsThatAreMissingSurplusOrChanged) {
  test::pack_foreign(files_, {});
  files_.tensors.erase("model.language_model.norm.weight");
  files_.tensors.erase(std::string(kLayer) + "mlp.up_proj.scales");
  files_.tensors["model.language_model.extra"] = files_.tensors.at("lm_head.weight");
  test::scale_columns(files_, "model.visual.pos_embed.weight", alternating);
  files_.tensors["model.visual.merger.norm.bias"] = Tensor::on_host(DType::bf16, {16});
  const Tensor head = to_f32(files_.tensors.at("lm_head.weight"));
  head.span<float>()[5] = std::numeric_limits<float>::infinity();
  files_.tensors["lm_head.weight"] = round_to_bf16(head);
  const Verification found = verified();
  EXPECT_EQ(found.problems,
            (std::vector<std::string>{
                "lm_head.weight holds NaN or infinity",
                "model.visual.merger.norm.bias is [16], the base model has [32]",
                "missing: 1 tensor: model.language_model.norm.weight",
                "not in the base model: 1 tensor: model.language_model.extra",
                "other values than in the base model: 1 tensor: model.visual.pos_embed.weight"}));
  EXPECT_TRUE(
      test::says(linear(found, "mlp.up_proj").problems.front(), "up_proj.scales\" is missing"));
  EXPECT_EQ(found.problem_count(), 6);
}

TEST_F(VerifyTest, ConfigAndFilesMustAgree) {
  test::pack_foreign(files_, {});
  const std::string name = std::string(kLayer) + "self_attn.o_proj";
  for (const char* suffix : {".qweight", ".qzeros", ".scales"}) {
    files_.tensors.erase(name + suffix);
  }
  files_.tensors[name + ".weight"] = test::tiny_checkpoint(31).tensors.at(name + ".weight");
  const Verification found = verified();
  EXPECT_EQ(found.problem_count(), 1) << found.to_text();
  EXPECT_TRUE(test::says(linear(found, "self_attn.o_proj").problems.front(),
                         "config.json says that it is quantized, but it is not"));
  EXPECT_EQ(linear(found, "self_attn.o_proj").error, 0);
  files_.patch("config.json",
               R"({"quantization_config": {"modules_to_not_convert": ["visual", "o_proj"]}})");
  EXPECT_EQ(linear(verified(), "self_attn.o_proj").problems.size(), 0u);
}

TEST_F(VerifyTest, TheSameFromAnyNumberOfThreads) {
  test::pack_foreign(files_, {.order = test::kInSequence});
  const std::string one = verified(1).to_json();
  EXPECT_EQ(verified(3).to_json(), one);
  const auto json = test::json_of(one);
  EXPECT_EQ(json["sound"], false);
  EXPECT_EQ(json["layers"].size(), 14u);
}

TEST_F(VerifyTest, WhatCannotBeComparedIsRefused) {
  const auto said = [&](ErrorCode code) { return test::error_of(code, [&] { verified(); }); };
  EXPECT_TRUE(test::says(said(ErrorCode::bad_input), "is this the original model?"));
  test::pack_foreign(files_, {});
  const test::TinyCheckpoint packed = files_;
  files_.patch("config.json", R"({"quantization_config": {"bits": 3}})");
  EXPECT_TRUE(test::says(said(ErrorCode::unsupported), "weights have 3 bits"));
  files_ = packed;
  files_.patch("config.json", R"({"quantization_config": {"version": "gemv"}})");
  EXPECT_TRUE(test::says(said(ErrorCode::unsupported), "the version is gemv"));
  files_ = packed;
  files_.patch("config.json", R"({"text_config": {"num_hidden_layers": 3}})");
  EXPECT_TRUE(test::says(said(ErrorCode::bad_input), "not its base model"));
  files_ = packed;
  files_.write(base_);
  EXPECT_TRUE(test::says(said(ErrorCode::bad_input), "the base model is quantized too"));
  test::TinyCheckpoint narrow = test::tiny_checkpoint(31);
  narrow.tensors[std::string(kLayer) + "self_attn.v_proj.weight"] =
      Tensor::on_host(DType::bf16, {8, 32});
  narrow.write(base_);
  EXPECT_TRUE(test::says(said(ErrorCode::bad_input), "v_proj.weight\" has shape [8, 32]"));
}

}  // namespace
}  // namespace squint
