#include "io/compressed_tensors.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <string>
#include <vector>

#include "io/error_of.h"
#include "support/paths.h"

namespace squint::io {
namespace {

using test::error_of;
using test::says;

constexpr const char* kModule = "model.language_model.layers.0.mlp.down_proj";

QuantizationConfig config_of(const QuantizationScheme& scheme) {
  QuantizationConfig config{.groups = {QuantizationGroup{}}, .ignore = {}};
  config.groups[0].scheme = scheme;
  return config;
}

// Nine rows: the zero points do not fill their last word. 20 columns: nor do the codes.
PackedLinear layer(const QuantizationScheme& scheme) {
  QuantizedWeight weight = QuantizedWeight::on_host(9, 20, scheme);
  std::ranges::fill(weight.codes.span<int8_t>(), int8_t{-3});
  std::ranges::fill(weight.scales.span<bf16>(), to_bf16(0.5f));
  std::ranges::fill(weight.zero_points.span<int8_t>(), int8_t{2});
  return pack_linear(weight, scheme);
}

// A checkpoint that holds one layer, after `change` has had its way with the tensors.
class LayerFolder {
 public:
  using Change = std::function<void(std::vector<NamedTensor>&)>;

  explicit LayerFolder(const QuantizationScheme& scheme, const Change& change = nullptr) {
    std::vector<NamedTensor> tensors;
    append_packed_linear(tensors, kModule, layer(scheme));
    tensors.push_back({"lm_head.weight", Tensor::on_host(DType::u8, {3})});
    if (change) change(tensors);
    test::write_text(dir_.path() / kConfigFileName, "{}");
    write_safetensors(dir_.path() / kSingleFileName, tensors);
  }
  Checkpoint open() const { return Checkpoint::open(dir_.path()); }

 private:
  test::TempDir dir_;
};

Tensor& tensor(std::vector<NamedTensor>& tensors, const std::string& ending) {
  const auto it =
      std::ranges::find_if(tensors, [&](const NamedTensor& t) { return t.name.ends_with(ending); });
  return it->tensor;
}

constexpr QuantizationScheme kSymmetric{.bits = 4, .group_size = 4, .symmetric = true};
constexpr QuantizationScheme kAsymmetric{.bits = 4, .group_size = 4, .symmetric = false};

TEST(AppendPackedLinear, NamesAndShapesAreThoseOfTheFormat) {
  std::vector<NamedTensor> tensors;
  append_packed_linear(tensors, "m", layer(kAsymmetric));
  ASSERT_EQ(tensors.size(), 4u);
  EXPECT_EQ(tensors[0].name, "m.weight_packed");
  EXPECT_EQ(tensors[0].tensor.shape(), Shape({9, 3}));
  EXPECT_EQ(tensors[1].name, "m.weight_scale");
  EXPECT_EQ(tensors[1].tensor.shape(), Shape({9, 5}));
  EXPECT_EQ(tensors[2].name, "m.weight_shape");
  EXPECT_EQ(tensors[2].tensor.span<const int64_t>()[0], 9);
  EXPECT_EQ(tensors[2].tensor.span<const int64_t>()[1], 20);
  EXPECT_EQ(tensors[3].name, "m.weight_zero_point");
  EXPECT_EQ(tensors[3].tensor.shape(), Shape({2, 5}));
}

// Loaders fail on a tensor that they do not expect.
TEST(AppendPackedLinear, SymmetricLayersHaveNoZeroPointTensor) {
  std::vector<NamedTensor> tensors;
  append_packed_linear(tensors, "m", layer(kSymmetric));
  EXPECT_EQ(tensors.size(), 3u);
}

TEST(FindPackedLinear, EverySchemeComesBack) {
  for (const int bits : {4, 8}) {
    for (const int64_t group_size : {0, 4, 20, 128}) {
      for (const bool symmetric : {true, false}) {
        const QuantizationScheme scheme{bits, group_size, symmetric};
        const Checkpoint checkpoint = LayerFolder(scheme).open();
        const auto found = find_packed_linear(checkpoint, kModule, config_of(scheme));
        ASSERT_TRUE(found.has_value());
        EXPECT_EQ(found->rows, 9);
        EXPECT_EQ(found->cols, 20);
        EXPECT_EQ(found->group_size, group_size == 4 ? 4 : 20);
        EXPECT_EQ(found->bits, bits);
        EXPECT_EQ(found->symmetric(), symmetric);
        const QuantizedWeight weight = unpack_linear(*found);
        EXPECT_EQ(weight.codes.span<const int8_t>()[179], -3);
        EXPECT_EQ(weight.scales.span<const bf16>().back(), to_bf16(0.5f));
        EXPECT_EQ(weight.zero_points.span<const int8_t>().back(), symmetric ? 0 : 2);
      }
    }
  }
}

TEST(FindPackedLinear, DenseLayersAreNotFound) {
  const Checkpoint checkpoint = LayerFolder(kSymmetric).open();
  EXPECT_FALSE(find_packed_linear(checkpoint, "lm_head", config_of(kSymmetric)).has_value());
}

struct Case {
  const char* what;
  LayerFolder::Change change;
  const char* says;
  ErrorCode code = ErrorCode::bad_input;
  QuantizationScheme scheme = kAsymmetric;
};

LayerFolder::Change replace(const std::string& ending, const Tensor& with) {
  return [=](std::vector<NamedTensor>& tensors) { tensor(tensors, ending) = with; };
}

LayerFolder::Change remove(const std::string& ending) {
  return [=](std::vector<NamedTensor>& tensors) {
    std::erase_if(tensors, [&](const NamedTensor& t) { return t.name.ends_with(ending); });
  };
}

Tensor shape_tensor(std::vector<int64_t> sizes) {
  return Tensor::copy_of<int64_t>(sizes, {static_cast<int64_t>(sizes.size())});
}

TEST(FindPackedLinear, ContradictionsAreNamed) {
  const std::vector<Case> cases = {
      {"no scale", remove("_scale"),
       "no tensor \"model.language_model.layers.0.mlp.down_proj.weight_scale\""},
      {"no shape", remove("_shape"), "down_proj.weight_shape"},
      {"no zero point", remove("_zero_point"),
       "is missing, but config.json says \"symmetric\": false"},
      {"surplus zero point", nullptr, "exists, but config.json says \"symmetric\": true",
       ErrorCode::bad_input, kSymmetric},
      {"group size of another file",
       nullptr,
       "weight_scale\" should be BF16 [9, 10]",
       ErrorCode::bad_input,
       {.bits = 4, .group_size = 2, .symmetric = false}},
      {"bits of another file",
       nullptr,
       "weight_packed\" should be I32 [9, 5], but is I32 [9, 3]",
       ErrorCode::bad_input,
       {.bits = 8, .group_size = 4, .symmetric = false}},
      {"groups do not divide",
       nullptr,
       "groups of 3 do not divide",
       ErrorCode::bad_input,
       {.bits = 4, .group_size = 3, .symmetric = false}},
      {"packed type", replace("_packed", Tensor::on_host(DType::f32, {9, 3})), "but is F32"},
      {"packed rows", replace("_packed", Tensor::on_host(DType::i32, {8, 3})), "[8, 3]"},
      {"packed rank", replace("_packed", Tensor::on_host(DType::i32, {27})), "[27]"},
      {"half-precision scale", replace("_scale", Tensor::on_host(DType::f16, {9, 5})),
       "scales are supported in BF16", ErrorCode::unsupported},
      {"integer scale", replace("_scale", Tensor::on_host(DType::i16, {9, 5})), "but is I16"},
      {"unpacked zero point", replace("_zero_point", Tensor::on_host(DType::i8, {9, 5})),
       "should be I32 [2, 5], but is I8 [9, 5]"},
      {"shape of three", replace("_shape", shape_tensor({9, 20, 1})), "should be I64 [2]"},
      {"shape type", replace("_shape", Tensor::on_host(DType::i32, {2})), "but is I32 [2]"},
      {"negative shape", replace("_shape", shape_tensor({-9, 20})), "says [-9, 20]"},
      {"empty shape", replace("_shape", shape_tensor({9, 0})), "says [9, 0]"},
      {"huge shape", replace("_shape", shape_tensor({INT64_MAX, INT64_MAX})), "expected positive"},
      {"column order",
       [](std::vector<NamedTensor>& tensors) {
         tensors.push_back(
             {std::string(kModule) + ".weight_g_idx", Tensor::on_host(DType::i32, {20})});
       },
       "another order of columns", ErrorCode::unsupported},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.what);
    const Checkpoint checkpoint = LayerFolder(kAsymmetric, c.change).open();
    const std::string message =
        error_of(c.code, [&] { find_packed_linear(checkpoint, kModule, config_of(c.scheme)); });
    EXPECT_TRUE(says(message, c.says));
  }
}

TEST(FindPackedLinear, ConfigMustKnowTheLayer) {
  const Checkpoint checkpoint = LayerFolder(kSymmetric).open();
  QuantizationConfig ignored = config_of(kSymmetric);
  ignored.ignore.emplace_back("re:.*down_proj$");
  QuantizationConfig untargeted = config_of(kSymmetric);
  untargeted.groups[0].targets = {ModulePattern("re:.*up_proj$")};
  for (const QuantizationConfig& config : {ignored, untargeted}) {
    EXPECT_TRUE(says(
        error_of(ErrorCode::bad_input, [&] { find_packed_linear(checkpoint, kModule, config); }),
        "says that the layer is not quantized"));
  }
}

}  // namespace
}  // namespace squint::io
