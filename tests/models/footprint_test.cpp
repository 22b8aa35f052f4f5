#include "models/qwen3_vl/footprint.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "io/error_of.h"
#include "models/qwen3_vl/model.h"
#include "models/qwen3_vl/stored_forms.h"
#include "squint/backend.h"
#include "support/json.h"
#include "support/paths.h"
#include "support/tiny_checkpoint.h"

namespace squint::qwen3_vl {
namespace {

using test::error_of;
using test::says;

class Footprints : public ::testing::Test {
 protected:
  Footprints() : files_(test::tiny_checkpoint(5)) { files_.write(dir_.path()); }

  BackendPtr backend_ = open_backend({.threads = 2});
  test::TinyCheckpoint files_;
  test::TempDir dir_;
};

// Scratch memory of a real pass, byte for byte.
TEST_F(Footprints, ScratchIsWhatAPassTakes) {
  const io::Checkpoint checkpoint = io::Checkpoint::open(dir_.path());
  const Model model(checkpoint, *backend_);
  const ImageProcessorConfig& limits = model.processor().image_config();
  for (const int64_t side : {64, 320, 512}) {
    image::Image image{.width = side, .height = side};
    image.rgb.resize(static_cast<size_t>(side * side * 3), 90);
    Patches patches = preprocess(image, with_areas(limits, 1, 1 << 20), "image");
    const int64_t count = patches.values.dim(0);
    std::vector<Patches> images;
    images.push_back(std::move(patches));
    const ModelInput input = model.processor().prepare(
        "<|vision_start|><|image_pad|><|vision_end|>what is it?", std::move(images));

    Arena scratch(*backend_);
    Context cx{.backend = *backend_, .scratch = scratch};
    ArenaLayout layout;
    const auto features = model.encode_images(cx, input);
    lay_out_encode(layout, model.config().vision, *backend_, count);
    EXPECT_EQ(layout.touched(), scratch.touched()) << side;
    int64_t bytes = features[0].embeds.bytes();
    for (const Tensor& tap : features[0].deepstack) bytes += tap.bytes();
    EXPECT_EQ(feature_bytes(model.config(), count), bytes);

    KvCache cache = model.make_cache(cx, input.tokens() + 1);
    const Prompt prompt{&input, features, &cache};
    {
      const Arena::Scope scope(scratch);
      const Tensor hidden = model.prefill(cx, {&prompt, 1});
      model.logits(cx, hidden.rows(hidden.dim(0) - 1, 1));
      const NextToken next{7, input.positions.next, &cache};
      model.logits(cx, model.step(cx, {&next, 1}));
    }
    lay_out_prompt(layout, model.config().text, input.tokens());
    EXPECT_EQ(layout.touched(), scratch.touched()) << side;
  }
}

// Each tensor of the file counts once.
TEST_F(Footprints, StoredBytesAreTheFiles) {
  for (const std::filesystem::path& folder : {dir_.path(), test::repo_dir() / "models/reader"}) {
    const io::Checkpoint checkpoint = io::Checkpoint::open(folder);
    const Json json = checkpoint.config();
    int64_t stored = 0;
    for (const LoadStep& step : load_steps(parse_config(json, "config.json"), *backend_,
                                           stored_forms(json, "config.json"))) {
      if (!step.shared) stored += step.stored_bytes;
    }
    EXPECT_EQ(stored, checkpoint.tensor_bytes()) << folder;
  }
}

TEST_F(Footprints, FormsFollowTheConfig) {
  Json json = test::json_of(files_.files.at("config.json"));
  const std::string layer = "model.language_model.layers.0.mlp.down_proj";
  EXPECT_FALSE(stored_forms(json, "c")(layer, 32, 64).scheme);
  EXPECT_EQ(form_text(stored_forms(json, "c")(layer, 32, 64)), "BF16");
  const QuantizationScheme scheme{.bits = 4, .group_size = 32};
  const FormOf assumed = stored_forms(json, "c", scheme);
  EXPECT_EQ(assumed(layer, 32, 64).scheme, scheme);
  EXPECT_EQ(form_text(assumed(layer, 32, 64)), "W4A16, groups of 32");
  EXPECT_FALSE(assumed("lm_head", 32, 64).scheme);
  EXPECT_FALSE(assumed("model.visual.blocks.0.attn.proj", 32, 64).scheme);
  EXPECT_TRUE(says(error_of(ErrorCode::usage, [&] { assumed(layer, 32, 48); }),
                   "groups of 32 columns do not divide the 48"));
  json["dtype"] = "float8";
  EXPECT_TRUE(says(error_of(ErrorCode::unsupported, [&] { stored_forms(json, "c"); }), "float8"));
}

// 2 operations for every weight and token, 4 for every pair of positions and width.
TEST(Operations, AreCountedAsByHand) {
  TextConfig t{.hidden = 8,
               .layers = 2,
               .heads = 2,
               .kv_heads = 1,
               .head_dim = 4,
               .intermediate = 16,
               .vocab = 10};
  const double weights = 8 * 8 + 4 * 8 + 4 * 8 + 8 * 8 + 3 * 8 * 16;
  EXPECT_EQ(prefill_operations(t, 1), 2 * (2 * weights + 4 * 8) + 2 * 80);
  EXPECT_EQ(prefill_operations(t, 3), 2 * (2 * 3 * weights + 4 * 6 * 8) + 2 * 80);
}

}  // namespace
}  // namespace squint::qwen3_vl
