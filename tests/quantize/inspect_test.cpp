#include "squint/inspect.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "io/error_of.h"
#include "squint/quantize.h"
#include "support/json.h"
#include "support/paths.h"
#include "support/tiny_checkpoint.h"

namespace squint {
namespace {

namespace fs = std::filesystem;

class InspectTest : public ::testing::Test {
 protected:
  InspectTest() { fs::create_directories(model_); }
  Inspection inspected() const {
    files_.write(model_);
    return inspect(model_);
  }
  static const Component& text_layers(const Inspection& of) {
    return *std::ranges::find(of.components, "text layers", &Component::name);
  }

  test::TinyCheckpoint files_ = test::tiny_checkpoint(9);
  test::TempDir dir_;
  fs::path model_ = dir_.path() / "model";
};

TEST_F(InspectTest, PackedWeightsAreCountedAsBefore) {
  const Inspection before = inspected();
  EXPECT_EQ(before.quantizable_layers, 14);
  EXPECT_TRUE(before.quantized.empty());
  const BackendPtr backend = open_backend({.threads = 1});
  for (const int bits : {4, 8}) {
    for (const bool symmetric : {true, false}) {
      const fs::path output = dir_.path() / ("w" + std::to_string(bits) + (symmetric ? "s" : "a"));
      quantize_checkpoint({.model = model_,
                           .output = output,
                           .method = QuantizeMethod::rtn,
                           .bits = bits,
                           .group_size = 16,
                           .symmetric = symmetric},
                          *backend);
      const Inspection after = inspect(output);
      EXPECT_EQ(text_layers(after).parameters, text_layers(before).parameters) << output;
      EXPECT_LT(text_layers(after).bytes, text_layers(before).bytes) << output;
      EXPECT_EQ(after.quantizable_layers, 0);
      EXPECT_NE(after.quantized, "");
    }
  }
}

TEST_F(InspectTest, TensorsWithoutValuesAreListed) {
  const std::string name = "model.language_model.layers.9.x_proj.weight";
  files_.tensors[name] = Tensor::on_host(DType::bf16, {4, 0});
  const Inspection found = inspected();
  const auto family = std::ranges::find(
      found.families, "model.language_model.layers.N.x_proj.weight", &TensorFamily::name);
  ASSERT_NE(family, found.families.end());
  EXPECT_EQ(family->bytes, 0);
  EXPECT_FALSE(family->quantizable);
}

TEST_F(InspectTest, PathsNeedNotBeUtf8) {
  model_ = dir_.path() / "model-\xff";
  fs::create_directories(model_);
  const auto json = test::json_of(inspected().to_json());
  EXPECT_TRUE(json["folder"].get<std::string>().ends_with("model-\uFFFD"));
}

}  // namespace
}  // namespace squint
