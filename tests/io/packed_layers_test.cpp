#include "io/packed_layers.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "io/error_of.h"
#include "io/safetensors.h"
#include "support/paths.h"

namespace squint::io {
namespace {

using test::error_of;
using test::says;

Packing parsed(const std::string& quantization) {
  return parse_packing(Json::parse(R"({"quantization_config": )" + quantization + "}"), "config");
}

// Spec awq-w4a16.md §7.5: the codes 0 to 7.
TEST(PackedLayers, OrderOfCodesInAWord) {
  for (const auto& [word, order] : {std::pair{0x76543210u, CodeOrder::sequential},
                                    {0x75316420u, CodeOrder::interleaved},
                                    {0x01234567u, CodeOrder::reversed}}) {
    const int32_t stored = static_cast<int32_t>(word);
    const Tensor words = Tensor::copy_of<int32_t>(std::span(&stored, 1), {1, 1});
    const PackedMatrix columns{.words = words};
    const PackedMatrix rows{.words = words, .along_rows = true};
    for (int i = 0; i < 8; ++i) {
      EXPECT_EQ(columns.code(0, i, order), i) << name(order);
      EXPECT_EQ(rows.code(i, 0, order), i) << name(order);
    }
  }
}

Tensor words_of(const Json& matrix) {
  std::vector<int32_t> words;
  for (const Json& row : matrix) {
    for (const Json& word : row) words.push_back(static_cast<int32_t>(word.get<uint32_t>()));
  }
  return Tensor::copy_of<int32_t>(
      words, {static_cast<int64_t>(matrix.size()), static_cast<int64_t>(matrix[0].size())});
}

Tensor scales_of(const Json& matrix, bool transposed) {
  const auto rows = static_cast<int64_t>(matrix.size());
  const auto groups = static_cast<int64_t>(matrix[0].size());
  const Shape shape = transposed ? Shape{groups, rows} : Shape{rows, groups};
  Tensor out = Tensor::on_host(DType::bf16, shape);
  for (int64_t i = 0; i < rows * groups; ++i) {
    const int64_t at = transposed ? i % groups * rows + i / groups : i;
    out.span<bf16>()[static_cast<size_t>(at)] = {
        matrix[static_cast<size_t>(i / groups)][static_cast<size_t>(i % groups)].get<uint16_t>()};
  }
  return out;
}

// Spec awq-w4a16.md §7.2, §7.5: one layer of [8, 16] in every format.
TEST(PackedLayers, TheSpecificationsLayerIsTheSameInEveryFormat) {
  const auto all =
      Json::parse(test::read_text(test::repo_dir() / "tests/data/awq-w4a16-vectors.json"));
  const Json& v2 = all["V2_asymmetric_minmax"];
  const Json& v5 = all["V5_other_formats_of_V2"];
  struct Case {
    std::string config;
    std::vector<NamedTensor> tensors;
  };
  const Tensor scales = scales_of(v2["scale_bf16"], true);
  const std::vector<int64_t> shape = {8, 16};
  const std::vector<Case> cases = {
      {R"({"quant_method": "awq", "bits": 4, "group_size": 8})",
       {{"m.qweight", words_of(v5["autoawq_qweight_u32"])},
        {"m.qzeros", words_of(v5["autoawq_qzeros_u32"])},
        {"m.scales", scales}}},
      {R"({"quant_method": "gptq", "bits": 4, "group_size": 8, "sym": false})",
       {{"m.qweight", words_of(v5["gptq_qweight_u32"])},
        {"m.qzeros", words_of(v5["gptq_v1_qzeros_u32"])},
        {"m.scales", scales}}},
      {R"({"quant_method": "gptq", "bits": 4, "group_size": 8, "sym": false,
           "checkpoint_format": "gptq_v2"})",
       {{"m.qweight", words_of(v5["gptq_qweight_u32"])},
        {"m.qzeros", words_of(v5["gptq_v2_qzeros_u32"])},
        {"m.scales", scales}}},
      {R"({"quant_method": "compressed-tensors", "format": "pack-quantized",
           "quantization_status": "compressed", "config_groups": {"group_0": {
           "targets": ["Linear"], "format": "pack-quantized", "weights": {"num_bits": 4,
           "type": "int", "strategy": "group", "group_size": 8, "symmetric": false,
           "dynamic": false, "actorder": "group"}}}})",
       {{"m.weight_packed", words_of(v2["weight_packed_u32"])},
        {"m.weight_zero_point", words_of(v2["weight_zero_point_packed_u32"])},
        {"m.weight_scale", scales_of(v2["scale_bf16"], false)},
        {"m.weight_shape", Tensor::copy_of<int64_t>(shape, {2})}}}};
  for (const Case& c : cases) {
    const test::TempDir dir;
    test::write_text(dir.path() / kConfigFileName, R"({"quantization_config": )" + c.config + "}");
    write_safetensors(dir.path() / kSingleFileName, c.tensors);
    const Checkpoint checkpoint = Checkpoint::open(dir.path());
    const PackedLayers layers(checkpoint);
    EXPECT_EQ(layers.modules(), std::vector<std::string>{"m"});
    const PackedLayer layer = layers.get("m", 8, 16);
    // From the middle too: readers take some rows at a time.
    for (const int64_t begin : {0, 3}) {
      std::vector<float> found(static_cast<size_t>((8 - begin) * 16));
      layer.dequantize(layers.packing().reading, begin, 8 - begin, found);
      for (size_t i = 0; i < found.size(); ++i) {
        const size_t r = i / 16 + static_cast<size_t>(begin);
        const size_t g = i % 16 / 8;
        const int code = v2["codes"][r][i % 16].get<int>() - v2["zero_point"][r][g].get<int>();
        const bf16 scale{v2["scale_bf16"][r][g].get<uint16_t>()};
        ASSERT_EQ(found[i], static_cast<float>(code) * to_float(scale)) << c.config << i;
      }
    }
    EXPECT_TRUE(says(error_of(ErrorCode::bad_input, [&] { layers.get("m", 8, 24); }), "["));
  }
}

TEST(PackedLayers, ConfigurationsOfOtherTools) {
  const Packing awq = parsed(R"({"quant_method": "awq", "bits": 4, "group_size": 128,
      "zero_point": true, "version": "gemm", "modules_to_not_convert": ["visual"]})");
  EXPECT_EQ(awq.description(), "AutoAWQ, W4A16, groups of 128, asymmetric");
  EXPECT_EQ(awq.reading.weights, CodeOrder::interleaved);
  EXPECT_EQ(awq.expects("model.visual.merger.linear_fc1"), false);
  EXPECT_EQ(awq.expects("model.language_model.layers.0.mlp.up_proj"), true);
  const Packing gptq = parsed(R"({"quant_method": "gptq", "bits": 8, "group_size": -1,
      "sym": true, "desc_act": false})");
  EXPECT_EQ(gptq.description(), "GPTQ, W8A16, a scale per row, symmetric");
  EXPECT_EQ(gptq.reading.zero_shift, 1);
  EXPECT_EQ(gptq.expects("model.language_model.layers.0.mlp.up_proj"), std::nullopt);
}

TEST(PackedLayers, ColumnsInAnotherOrderAreRead) {
  const Packing packing = parsed(R"({"quant_method": "compressed-tensors",
      "format": "pack-quantized", "quantization_status": "compressed", "config_groups": {"group_0": {
      "targets": ["Linear"], "format": "pack-quantized", "weights": {"num_bits": 4, "type": "int",
      "strategy": "group", "group_size": 128, "symmetric": true, "dynamic": false,
      "actorder": "group"}}}})");
  EXPECT_EQ(packing.description(), "compressed-tensors, W4A16, groups of 128, symmetric");
}

TEST(PackedLayers, ConfigurationsThatCannotBeRead) {
  const auto said = [](ErrorCode code, const std::string& quantization) {
    return error_of(code, [&] { parsed(quantization); });
  };
  EXPECT_TRUE(says(said(ErrorCode::bad_input, "null"), "is this the original model?"));
  EXPECT_TRUE(says(said(ErrorCode::unsupported, R"({"quant_method": "fp8"})"), "method is fp8"));
  EXPECT_TRUE(says(said(ErrorCode::bad_input, R"({"quant_method": "awq"})"), "bits"));
  EXPECT_TRUE(
      says(said(ErrorCode::bad_input, R"({"quant_method": "awq", "bits": 4, "group_size": 0})"),
           "should be positive"));
  EXPECT_TRUE(says(said(ErrorCode::unsupported, R"({"quant_method": "gptq", "bits": 4,
      "group_size": 128, "sym": true, "checkpoint_format": "marlin"})"),
                   "checkpoint_format is marlin"));
}

}  // namespace
}  // namespace squint::io
