// Head and embeddings in 8 bits: written, read back, refused.
#include "quantize/vocabulary.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "core/packed_int.h"
#include "io/checkpoint.h"
#include "io/compressed_tensors.h"
#include "io/error_of.h"
#include "models/qwen3_vl/model.h"
#include "squint/engine.h"
#include "squint/inspect.h"
#include "squint/verify.h"
#include "support/json.h"
#include "support/paths.h"
#include "support/tiny_checkpoint.h"

namespace squint {
namespace {

namespace fs = std::filesystem;
using test::error_of;
using test::says;

class TinyVocabulary : public ::testing::Test {
 protected:
  TinyVocabulary() {
    fs::create_directories(dir_.path() / "model");
    files_.write(dir_.path() / "model");
  }
  QuantizeOptions options(const std::string& output) const {
    return {.model = dir_.path() / "model",
            .output = dir_.path() / output,
            .method = QuantizeMethod::rtn,
            .group_size = 16,
            .head_bits = 8,
            .embedding_bits = 8};
  }
  std::string weights(const std::string& output) const {
    return test::read_text(dir_.path() / output / "model.safetensors");
  }
  std::string answer(const std::string& output) const {
    Engine engine(dir_.path() / output, *backend_);
    Request request;
    request.turns = {{.text = "what is written in the image?"}};
    request.max_tokens = 8;
    request.sampling.temperature = 0;
    return engine.generate(request).text;
  }

  BackendPtr backend_ = open_backend({.threads = 2});
  test::TinyCheckpoint files_ = test::tiny_checkpoint(5);
  test::TempDir dir_;
};

TEST_F(TinyVocabulary, WhatIsWrittenIsReadBack) {
  const QuantizeReport report = quantize_checkpoint(options("out"), *backend_);
  EXPECT_NE(report.to_text().find("head int8, embedding int8"), std::string::npos);
  EXPECT_EQ(report.plan.notes.size(), 2u);
  // The plan leaves out weight_shape, 16 bytes for each of 16 packed layers.
  EXPECT_NEAR(static_cast<double>(report.plan.output_bytes),
              static_cast<double>(report.output_bytes), 16 * 16);
  const io::Checkpoint made = io::Checkpoint::open(dir_.path() / "out");
  const qwen3_vl::Weights stored(made);
  for (const char* module : {qwen3_vl::kHead, qwen3_vl::kEmbedding}) {
    const std::string name = module;
    EXPECT_EQ(made.find(name + ".weight"), nullptr);
    EXPECT_EQ(made.get(name + ".weight_packed").shape(), Shape({1024, 8}));
    EXPECT_EQ(made.get(name + ".weight_scale").shape(), Shape({1024, 2}));
    const auto packed = io::find_packed_linear(made, name, *stored.quantization());
    ASSERT_TRUE(packed);
    const Tensor original = to_f32(files_.tensors.at(name + ".weight"));
    for (const int64_t row : {0, 1, 517, 1023}) {
      std::vector<float> found(32);
      dequantize_row(*packed, row, found);
      const auto expected = original.rows(row, 1).span<float>();
      for (size_t c = 0; c < 32; ++c) {
        const auto group = static_cast<size_t>(row * 2) + c / 16;
        const float step = to_float(packed->scale.span<bf16>()[group]);
        // Half a step, and what the quotient loses in BF16.
        EXPECT_NEAR(found[c], expected[c], 0.77f * step) << name << " " << row << " " << c;
      }
    }
  }
  const auto config = test::json_of(test::read_text(dir_.path() / "out/config.json"));
  const auto& groups = config["quantization_config"]["config_groups"];
  EXPECT_EQ(groups["group_0"]["targets"], nlohmann::json({"Linear"}));
  EXPECT_EQ(groups["group_1"]["targets"], nlohmann::json({"re:.*lm_head$", "re:.*embed_tokens$"}));
  EXPECT_EQ(groups["group_1"]["weights"]["num_bits"], 8);
  const auto& ignore = config["quantization_config"]["ignore"];
  EXPECT_EQ(std::ranges::count(ignore, "lm_head"), 0);
  EXPECT_GT(ignore.size(), 4u);
  EXPECT_FALSE(answer("out").empty());
}

TEST_F(TinyVocabulary, OneOfThemAlone) {
  QuantizeOptions o = options("head");
  o.embedding_bits = 16;
  quantize_checkpoint(o, *backend_);
  o = options("embedding");
  o.head_bits = 16;
  quantize_checkpoint(o, *backend_);
  o.output = dir_.path() / "plain";
  o.embedding_bits = 16;
  quantize_checkpoint(o, *backend_);
  const auto has = [&](const char* output, const std::string& tensor) {
    return io::Checkpoint::open(dir_.path() / output).find(tensor) != nullptr;
  };
  const std::string embedding = qwen3_vl::kEmbedding;
  EXPECT_TRUE(has("head", "lm_head.weight_packed") && has("head", embedding + ".weight"));
  EXPECT_TRUE(has("embedding", "lm_head.weight") && has("embedding", embedding + ".weight_packed"));
  EXPECT_TRUE(has("plain", "lm_head.weight") && has("plain", embedding + ".weight"));
  for (const char* output : {"head", "embedding", "plain"}) answer(output);
}

TEST_F(TinyVocabulary, LooksRightToItsInspectors) {
  quantize_checkpoint(options("out"), *backend_);
  const Inspection now = inspect(dir_.path() / "out");
  const Inspection before = inspect(dir_.path() / "model");
  for (size_t i = 0; i < now.components.size(); ++i) {
    EXPECT_EQ(now.components[i].name, before.components[i].name);
    EXPECT_EQ(now.components[i].parameters, before.components[i].parameters);
  }
  const Verification verified =
      verify_checkpoint({.checkpoint = dir_.path() / "out", .base = dir_.path() / "model"});
  EXPECT_EQ(verified.problem_count(), 0) << verified.to_text();
  EXPECT_EQ(verified.packed_layers, 16);
  for (const VerifiedLinear& l : verified.linears) {
    const bool table = l.module == qwen3_vl::kHead || l.module == qwen3_vl::kEmbedding;
    EXPECT_LT(l.error, table ? 0.01 : 0.2) << l.module;
    EXPECT_EQ(l.bits > 8, table) << l.module;
  }
}

TEST_F(TinyVocabulary, ItsRecipeGivesTheSameBytes) {
  const QuantizeReport first = quantize_checkpoint(options("out"), *backend_);
  QuantizeOptions o = options("again");
  o.head_bits = 16;
  o.embedding_bits = 16;
  EXPECT_TRUE(apply_recipe(dir_.path() / "out/recipe.yaml", o).empty());
  EXPECT_EQ(o.head_bits, 8);
  EXPECT_EQ(o.embedding_bits, 8);
  const QuantizeReport again = quantize_checkpoint(o, *backend_);
  EXPECT_EQ(again.recipe, first.recipe);
  EXPECT_EQ(weights("again"), weights("out"));
}

TEST_F(TinyVocabulary, RecipesThatCannotBe) {
  const std::string layers =
      "a_stage:\n  a_modifiers:\n    QuantizationModifier:\n      config_groups:\n"
      "        a:\n          targets: [Linear]\n          weights: {num_bits: 4, group_size: 32}\n"
      "        b:\n          targets: ['re:.*lm_head$']\n          weights: ";
  const auto read = [&](const std::string& weights) {
    const fs::path file = dir_.path() / "recipe.yaml";
    test::write_text(file, layers + weights + "\n      ignore: ['re:.*visual.*']\n");
    QuantizeOptions o;
    apply_recipe(file, o);
    return o;
  };
  EXPECT_EQ(read("{num_bits: 8, group_size: 32}").head_bits, 8);
  EXPECT_EQ(read("{num_bits: 8, group_size: 32}").embedding_bits, 16);
  for (const char* weights :
       {"{num_bits: 4, group_size: 32}", "{num_bits: 8, group_size: 32, symmetric: false}",
        "{num_bits: 8, group_size: 64}"}) {
    error_of(ErrorCode::unsupported, [&] { read(weights); });
  }
}

TEST_F(TinyVocabulary, TiedOnesAreRefused) {
  files_.patch("config.json", R"({"tie_word_embeddings": true})");
  files_.tensors.erase("lm_head.weight");
  files_.write(dir_.path() / "model");
  EXPECT_TRUE(says(
      error_of(ErrorCode::unsupported, [&] { quantize_checkpoint(options("out"), *backend_); }),
      "embedding and head are one matrix"));
  QuantizeOptions o = options("out");
  o.head_bits = 4;
  EXPECT_TRUE(says(error_of(ErrorCode::usage, [&] { quantize_checkpoint(o, *backend_); }),
                   "head: expected 8 bits"));
}

TEST(TableNamed, OnlyWhereItIsNothingElse) {
  using quantize::table_named;
  EXPECT_EQ(table_named("lm_head"), qwen3_vl::kHead);
  EXPECT_EQ(table_named("re:.*lm_head"), qwen3_vl::kHead);
  EXPECT_EQ(table_named("re:.*embed_tokens$"), qwen3_vl::kEmbedding);
  for (const char* other : {"Linear", "Embedding", "re:.*", "re:.*proj", "q_proj"}) {
    EXPECT_EQ(table_named(other), std::nullopt) << other;
  }
}

}  // namespace
}  // namespace squint
