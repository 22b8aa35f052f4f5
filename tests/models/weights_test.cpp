#include "models/qwen3_vl/weights.h"

#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <vector>

#include "io/error_of.h"
#include "squint/backend.h"
#include "support/paths.h"
#include "support/tiny_checkpoint.h"

namespace squint::qwen3_vl {
namespace {

using test::error_of;
using test::says;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

Tensor floats(const std::vector<float>& values, const Shape& shape) {
  return Tensor::copy_of<float>(values, shape);
}

Tensor halves(const std::vector<uint16_t>& bits, DType dtype) {
  const Tensor out = Tensor::on_host(dtype, {static_cast<int64_t>(bits.size())});
  std::copy(bits.begin(), bits.end(), reinterpret_cast<uint16_t*>(out.raw()));
  return out;
}

// A checkpoint of a few tensors. Weights reads config.json for its quantization only.
class WeightsTest : public ::testing::Test {
 protected:
  WeightsTest() { files_.files["config.json"] = "{}"; }

  void add(const std::string& name, const Tensor& tensor) { files_.tensors[name] = tensor; }
  void config(const std::string& text) { files_.files["config.json"] = text; }
  io::Checkpoint open() {
    files_.write(dir_.path());
    return io::Checkpoint::open(dir_.path());
  }
  std::string stored_error(const std::string& name, const Shape& shape) {
    const io::Checkpoint checkpoint = open();
    return error_of(ErrorCode::bad_input, [&] { Weights(checkpoint).stored(name, shape); });
  }

 private:
  test::TempDir dir_;
  test::TinyCheckpoint files_;
};

TEST_F(WeightsTest, StoredTensorsAreHandedOutAsTheyAre) {
  add("a", floats({1, 2, 3, 4, 5, 6}, {2, 3}));
  add("b", halves({0x3f80, 0xff7f}, DType::bf16));  // 1, the lowest finite
  add("c", halves({0x3c00, 0x7bff}, DType::f16));   // 1, the largest finite
  const io::Checkpoint checkpoint = open();
  const Weights weights(checkpoint);
  EXPECT_EQ(weights.stored("a", {2, 3}).span<const float>()[5], 6.0f);
  EXPECT_EQ(weights.stored("b", {2}).dtype(), DType::bf16);
  EXPECT_EQ(weights.stored("c", {2}).dtype(), DType::f16);
  EXPECT_FALSE(weights.quantization().has_value());
}

TEST_F(WeightsTest, VectorsAreWidened) {
  add("b", halves({0x3f80, 0xc000}, DType::bf16));
  add("c", halves({0x3c00, 0xc000}, DType::f16));
  const io::Checkpoint checkpoint = open();
  const Weights weights(checkpoint);
  const auto backend = open_backend({.name = "reference", .threads = 1});
  for (const char* name : {"b", "c"}) {
    const Tensor out = weights.vector(*backend, name, 2);
    EXPECT_EQ(out.span<const float>()[0], 1.0f) << name;
    EXPECT_EQ(out.span<const float>()[1], -2.0f) << name;
  }
}

TEST_F(WeightsTest, AbsentTensorIsNamed) {
  add("model.norm.weight", floats({1}, {1}));
  EXPECT_TRUE(says(stored_error("model.norm.weights", {1}), "no tensor \"model.norm.weights\""));
}

TEST_F(WeightsTest, WrongShapeSaysWhereAndWhat) {
  add("a.weight", floats({1, 2, 3, 4, 5, 6}, {2, 3}));
  for (const Shape& shape : {Shape{3, 2}, Shape{6}, Shape{2, 3, 1}, Shape{2, 4}}) {
    const std::string message = stored_error("a.weight", shape);
    EXPECT_TRUE(says(message, "model.safetensors: tensor \"a.weight\""));
    EXPECT_TRUE(says(message, "has shape [2, 3]"));
    EXPECT_TRUE(says(message, "asks for " + shape.to_string()));
  }
}

TEST_F(WeightsTest, WrongTypeSaysWhereAndWhat) {
  add("a.weight", Tensor::copy_of<int32_t>(std::vector<int32_t>{1, 2}, {2}));
  const std::string message = stored_error("a.weight", {2});
  EXPECT_TRUE(says(message, "model.safetensors: tensor \"a.weight\" is I32"));
  EXPECT_TRUE(says(message, "expected BF16, F16 or F32"));
}

TEST_F(WeightsTest, NotANumberAndInfinityAreRefusedInEveryType) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const std::vector<Tensor> damaged = {
      floats({1, nan}, {2}),
      floats({kInfinity, 1}, {2}),
      floats({1, -kInfinity}, {2}),
      halves({0x3f80, 0x7fc0}, DType::bf16),  // NaN
      halves({0x3f80, 0xff81}, DType::bf16),  // a signalling one, negative
      halves({0x7f80, 0x3f80}, DType::bf16),  // infinity
      halves({0x3c00, 0x7e00}, DType::f16),
      halves({0x3c00, 0xfc00}, DType::f16)};
  for (size_t i = 0; i < damaged.size(); ++i) {
    add("a.weight", damaged[i]);
    const std::string message = stored_error("a.weight", {2});
    EXPECT_TRUE(says(message, "model.safetensors: tensor \"a.weight\" holds NaN or infinity")) << i;
  }
}

TEST_F(WeightsTest, DenseLinearWithAndWithoutBias) {
  add("m.weight", floats({1, 2, 3, 4, 5, 6}, {2, 3}));
  add("m.bias", halves({0x3f80, 0x4000}, DType::bf16));
  const io::Checkpoint checkpoint = open();
  const Weights weights(checkpoint);
  const LinearWeight plain = weights.linear("m", 2, 3);
  EXPECT_TRUE(plain.bias.empty());
  EXPECT_EQ(plain.out_features, 2);
  EXPECT_EQ(plain.in_features, 3);
  EXPECT_EQ(std::get<Tensor>(plain.weight).span<const float>()[4], 5.0f);
  const LinearWeight biased = weights.linear("m", 2, 3, /*bias=*/true);
  EXPECT_EQ(biased.bias.span<const float>()[1], 2.0f);
  EXPECT_TRUE(says(error_of(ErrorCode::bad_input, [&] { weights.linear("m", 3, 2); }),
                   "\"m.weight\" has shape [2, 3]"));
}

TEST_F(WeightsTest, DamagedBiasIsNamed) {
  add("m.weight", floats({1}, {1, 1}));
  add("m.bias", floats({kInfinity}, {1}));
  const io::Checkpoint checkpoint = open();
  const Weights weights(checkpoint);
  EXPECT_TRUE(says(error_of(ErrorCode::bad_input, [&] { weights.linear("m", 1, 1, true); }),
                   "\"m.bias\" holds NaN"));
}

constexpr const char* kQuantized = R"({"quantization_config": {
  "quant_method": "compressed-tensors", "format": "pack-quantized", "ignore": ["lm_head"],
  "config_groups": {"group_0": {"targets": ["Linear"], "weights": {"num_bits": 4, "type": "int",
    "symmetric": true, "strategy": "group", "group_size": 8}}}}})";

class PackedWeightsTest : public WeightsTest {
 protected:
  // 2 rows of 16 columns, two groups a row.
  PackedWeightsTest() {
    config(kQuantized);
    add("m.weight_packed", Tensor::copy_of<int32_t>(std::vector<int32_t>{1, 2, 3, 4}, {2, 2}));
    add("m.weight_shape", Tensor::copy_of<int64_t>(std::vector<int64_t>{2, 16}, {2}));
    add("m.weight_scale", halves({0x3f80, 0x3f80, 0x4000, 0x4000}, DType::bf16).reshaped({2, 2}));
  }
};

TEST_F(PackedWeightsTest, PackedLinear) {
  const io::Checkpoint checkpoint = open();
  const Weights weights(checkpoint);
  ASSERT_TRUE(weights.quantization().has_value());
  const LinearWeight weight = weights.linear("m", 2, 16);
  const auto* packed = std::get_if<PackedLinear>(&weight.weight);
  ASSERT_NE(packed, nullptr);
  EXPECT_EQ(packed->group_size, 8);
  EXPECT_EQ(packed->packed.span<const int32_t>()[3], 4);
}

TEST_F(PackedWeightsTest, OtherSizesThanTheConfigsAreNamed) {
  const io::Checkpoint checkpoint = open();
  const Weights weights(checkpoint);
  const std::string message = error_of(ErrorCode::bad_input, [&] { weights.linear("m", 16, 2); });
  EXPECT_TRUE(says(message, "model.safetensors: tensor \"m.weight_packed\""));
  EXPECT_TRUE(says(message, "packed from [2, 16]"));
  EXPECT_TRUE(says(message, "asks for [16, 2]"));
}

TEST_F(PackedWeightsTest, DamagedScalesAreNamed) {
  add("m.weight_scale", halves({0x3f80, 0x3f80, 0x7f80, 0x4000}, DType::bf16).reshaped({2, 2}));
  const io::Checkpoint checkpoint = open();
  const Weights weights(checkpoint);
  EXPECT_TRUE(says(error_of(ErrorCode::bad_input, [&] { weights.linear("m", 2, 16); }),
                   "model.safetensors: tensor \"m.weight_scale\" holds NaN or infinity"));
}

TEST_F(PackedWeightsTest, DenseLayersBesidePackedOnes) {
  add("lm_head.weight", floats({1, 2}, {1, 2}));
  const io::Checkpoint checkpoint = open();
  const LinearWeight weight = Weights(checkpoint).linear("lm_head", 1, 2);
  EXPECT_TRUE(std::holds_alternative<Tensor>(weight.weight));
}

TEST_F(PackedWeightsTest, PackedTensorsWithoutTheirConfigSaySo) {
  config("{}");
  const io::Checkpoint checkpoint = open();
  const Weights weights(checkpoint);
  EXPECT_TRUE(says(error_of(ErrorCode::bad_input, [&] { weights.linear("m", 2, 16); }),
                   "the layer is quantized"));
}

}  // namespace
}  // namespace squint::qwen3_vl
