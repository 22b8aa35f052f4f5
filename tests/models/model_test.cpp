#include "models/qwen3_vl/model.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "base/random.h"
#include "io/error_of.h"
#include "squint/backend.h"
#include "support/fused_reference.h"
#include "support/paths.h"
#include "support/tiny_checkpoint.h"

namespace squint::qwen3_vl {
namespace {

using test::error_of;
using test::says;

constexpr uint64_t kSeed = 11;
constexpr int32_t kNextToken = 40;

std::vector<float> values_of(const Tensor& x) {
  const auto span = x.span<const float>();
  return {span.begin(), span.end()};
}

TEST(ModuleNames, AsInTheCheckpoint) {
  EXPECT_EQ(module_name(0, LinearRole::q), "model.language_model.layers.0.self_attn.q_proj");
  EXPECT_EQ(module_name(35, LinearRole::down), "model.language_model.layers.35.mlp.down_proj");
  EXPECT_EQ(norm_name(1, NormRole::attention),
            "model.language_model.layers.1.input_layernorm.weight");
  EXPECT_EQ(norm_name(1, NormRole::mlp),
            "model.language_model.layers.1.post_attention_layernorm.weight");
  EXPECT_EQ(norm_name(2, NormRole::key), "model.language_model.layers.2.self_attn.k_norm.weight");
  std::vector<std::string_view> names;
  for (const LinearRole role : kAllLinears) names.push_back(short_name(role));
  EXPECT_EQ(names, (std::vector<std::string_view>{"q_proj", "k_proj", "v_proj", "o_proj",
                                                  "gate_proj", "up_proj", "down_proj"}));
}

// Every matrix of a published checkpoint is a linear layer that some name stands for, once.
TEST(ModuleNames, CoverEveryLinearLayerOfTheReader) {
  const io::Checkpoint checkpoint = io::Checkpoint::open(test::repo_dir() / "models/reader");
  const Config config = parse_config(checkpoint.config(), "config.json");
  std::vector<std::string> named = other_linears(config);
  EXPECT_EQ(named.front(), "model.visual.blocks.0.attn.qkv");
  EXPECT_EQ(named[24], "model.visual.merger.linear_fc1");
  EXPECT_EQ(named.back(), "lm_head");
  for (int64_t layer = 0; layer < config.text.layers; ++layer) {
    for (const LinearRole role : kAllLinears) named.push_back(module_name(layer, role));
  }
  std::set<std::string> expected;
  for (const std::string& name : checkpoint.names()) {
    const bool table = name.ends_with("embed_tokens.weight") || name.ends_with("pos_embed.weight");
    if (checkpoint.get(name).shape().rank() == 2 && !table) {
      expected.insert(name.substr(0, name.size() - std::string(".weight").size()));
    }
  }
  EXPECT_EQ(std::set<std::string>(named.begin(), named.end()), expected);
  EXPECT_EQ(named.size(), expected.size());
}

TEST(SmoothGroups, GroupedQueriesHaveNoValueGroup) {
  TextConfig config;
  config.heads = 6;
  config.kv_heads = 2;
  EXPECT_EQ(smooth_groups(config).size(), 3u);
  config.kv_heads = 6;
  const std::vector<SmoothGroup> groups = smooth_groups(config);
  ASSERT_EQ(groups.size(), 4u);
  EXPECT_EQ(groups[3].linear, LinearRole::v);
  EXPECT_EQ(groups[3].sinks, std::vector<LinearRole>{LinearRole::o});
}

class TinyModelTest : public ::testing::Test {
 protected:
  TinyModelTest() : files_(test::tiny_checkpoint(kSeed)) {}

  io::Checkpoint open() {
    files_.write(dir_.path());
    return io::Checkpoint::open(dir_.path());
  }
  std::string load_error(ErrorCode code) {
    const io::Checkpoint checkpoint = open();
    return error_of(code, [&] { Model(checkpoint, *backend_); });
  }

  BackendPtr backend_ = open_backend({.threads = 1});
  test::TinyCheckpoint files_;
  test::TempDir dir_;
};

TEST_F(TinyModelTest, EveryTensorIsMissed) {
  const auto all = files_.tensors;
  ASSERT_EQ(all.size(), 52u);
  for (const auto& [name, tensor] : all) {
    files_.tensors.erase(name);
    EXPECT_TRUE(says(load_error(ErrorCode::bad_input), "\"" + name + "\""));
    files_.tensors[name] = tensor;
  }
}

TEST_F(TinyModelTest, EveryShapeIsChecked) {
  const auto all = files_.tensors;
  for (const auto& [name, tensor] : all) {
    files_.tensors[name] = tensor.rows(0, tensor.dim(0) - 1);
    const std::string message = load_error(ErrorCode::bad_input);
    EXPECT_TRUE(says(message, "tensor \"" + name + "\" has shape"));
    EXPECT_TRUE(says(message, "asks for " + tensor.shape().to_string()));
    files_.tensors[name] = tensor;
  }
}

// A model's answer to three tokens.
std::vector<float> logits_of(const Model& model, Backend& backend) {
  Arena scratch(backend);
  Context cx{.backend = backend, .scratch = scratch};
  const ModelInput input = model.processor().prepare("some words", {});
  KvCache cache = model.make_cache(cx, input.tokens());
  const Prompt prompt{&input, {}, &cache};
  return values_of(model.logits(cx, model.prefill(cx, {&prompt, 1})));
}

TEST_F(TinyModelTest, TiedHeadIsTheEmbeddingUnlessAHeadIsStored) {
  const std::string head = "lm_head.weight";
  const std::string embedding = "model.language_model.embed_tokens.weight";
  const auto answer = [&] {
    const io::Checkpoint checkpoint = open();
    return logits_of(Model(checkpoint, *backend_), *backend_);
  };
  const std::vector<float> own = answer();
  files_.patch("config.json", R"({"tie_word_embeddings": true})");
  EXPECT_EQ(answer(), own);  // a stored head wins
  files_.tensors.erase(head);
  const std::vector<float> tied = answer();
  EXPECT_NE(tied, own);
  files_.tensors[head] = files_.tensors[embedding];
  files_.patch("config.json", R"({"tie_word_embeddings": false})");
  EXPECT_EQ(answer(), tied);
}

TEST_F(TinyModelTest, StoredTypeDoesNotMatter) {
  const auto answer = [&] {
    const io::Checkpoint checkpoint = open();
    return logits_of(Model(checkpoint, *backend_), *backend_);
  };
  const std::vector<float> narrow = answer();
  for (auto& [name, tensor] : files_.tensors) tensor = to_f32(tensor);
  EXPECT_EQ(answer(), narrow);
}

TEST_F(TinyModelTest, DeepstackReachesItsLayersAndImageRowsOnly) {
  Arena scratch(*backend_);
  Context cx{.backend = *backend_, .scratch = scratch};
  ModelInput input;
  input.runs = {{.begin = 1, .tokens = 2, .grid = {1, 2, 4}}};
  ImageFeatures features;
  features.embeds = Tensor::copy_of<float>(std::vector<float>(4, 9.0f), {2, 2});
  features.deepstack = {Tensor::copy_of<float>(std::vector<float>{1, 2, 3, 4}, {2, 2})};
  const Tensor hidden = Tensor::copy_of<float>(std::vector<float>(10, 0.5f), {5, 2});
  // The prompt starts in row 1: its image stands in rows 2 and 3.
  add_deepstack(cx, input, {&features, 1}, 1, 1, hidden);
  EXPECT_EQ(values_of(hidden), std::vector<float>(10, 0.5f));  // nothing for a second layer
  add_deepstack(cx, input, {&features, 1}, 0, 1, hidden);
  EXPECT_EQ(values_of(hidden),
            (std::vector<float>{0.5f, 0.5f, 0.5f, 0.5f, 1.5f, 2.5f, 3.5f, 4.5f, 0.5f, 0.5f}));
  place_images(cx, input, {&features, 1}, 1, hidden);
  EXPECT_EQ(values_of(hidden),
            (std::vector<float>{0.5f, 0.5f, 0.5f, 0.5f, 9, 9, 9, 9, 0.5f, 0.5f}));
}

// A layer's tensors in float32, so that powers of two scale them without rounding.
DecoderBlockWeights widened(DecoderBlockWeights block) {
  for (LinearWeight& linear : block.linears)
    linear.weight = to_f32(std::get<Tensor>(linear.weight));
  for (Tensor& norm : block.norms) norm = to_f32(norm);
  return block;
}

void scale_rows(const Tensor& weight, const std::vector<float>& by) {
  const int64_t row = weight.numel() / weight.dim(0);
  for (int64_t i = 0; i < weight.numel(); ++i) weight.span<float>()[i] *= by[i / row];
}

void scale_columns(const Tensor& weight, const std::vector<float>& by) {
  for (int64_t i = 0; i < weight.numel(); ++i) {
    weight.span<float>()[i] *= by[i % static_cast<int64_t>(by.size())];
  }
}

void smooth(DecoderBlockWeights& block, const SmoothGroup& group, Random& random) {
  const Tensor source =
      group.source_is_norm ? block[group.norm] : std::get<Tensor>(block[group.linear].weight);
  std::vector<float> s(static_cast<size_t>(source.dim(0)));
  std::vector<float> inverse;
  for (float& x : s) x = std::exp2(static_cast<float>(random.below(7)) - 3);
  for (const float x : s) inverse.push_back(1 / x);
  scale_rows(source, inverse);
  for (const LinearRole sink : group.sinks) scale_columns(std::get<Tensor>(block[sink].weight), s);
}

std::vector<float> output_of(const DecoderBlockWeights& weights, const TextConfig& config,
                             Backend& backend) {
  Arena scratch(backend);
  Context cx{.backend = backend, .scratch = scratch};
  const DecoderBlock block(weights, config, 0, backend);
  std::vector<Position> positions;
  for (int64_t t = 0; t < 5; ++t) positions.push_back({t, t, t});
  const RotaryTable rotary = device_rotary(cx, positions, config);
  Random random(kSeed);
  const Tensor hidden = Tensor::on_host(DType::f32, {5, config.hidden});
  for (float& x : hidden.span<float>()) x = static_cast<float>(random.uniform() - 0.5);
  KvLayer kv = ops::make_kv(cx, config.kv_heads, config.head_dim, 5);
  const KvSlice slice{0, 5, &kv};
  block.forward(cx, rotary.cosine, rotary.sine, {&slice, 1}, hidden);
  return values_of(hidden);
}

TEST_F(TinyModelTest, FusedOperatorsComputeTheSame) {
  const io::Checkpoint checkpoint = open();
  const TextConfig config = parse_config(checkpoint.config(), "config.json").text;
  const DecoderBlockWeights weights = DecoderBlockWeights::load(Weights(checkpoint), config, 0);
  reference::ReferenceBackend parts(1);
  test::FusedReference whole(1);
  EXPECT_EQ(output_of(weights, config, whole), output_of(weights, config, parts));
  EXPECT_EQ(whole.calls(), 6);
}

TEST_F(TinyModelTest, SmoothingAGroupDoesNotChangeTheLayer) {
  SCOPED_TRACE(testing::Message() << "seed " << kSeed);
  // As many key/value heads as query heads, so that all four groups exist.
  files_.patch("config.json", R"({"text_config": {"num_key_value_heads": 2}})");
  for (const char* layer : {"0", "1"}) {
    const std::string at = std::string("model.language_model.layers.") + layer + ".self_attn.";
    files_.tensors[at + "k_proj.weight"] = files_.tensors[at + "q_proj.weight"];
    files_.tensors[at + "v_proj.weight"] = files_.tensors[at + "o_proj.weight"];
  }
  const io::Checkpoint checkpoint = open();
  const TextConfig config = parse_config(checkpoint.config(), "config.json").text;
  const auto load = [&] {
    return widened(DecoderBlockWeights::load(Weights(checkpoint), config, 0));
  };
  const std::vector<float> expected = output_of(load(), config, *backend_);
  const std::vector<SmoothGroup> groups = smooth_groups(config);
  ASSERT_EQ(groups.size(), 4u);
  Random random(kSeed);
  for (const SmoothGroup& group : groups) {
    DecoderBlockWeights block = load();
    smooth(block, group, random);
    EXPECT_EQ(output_of(block, config, *backend_), expected) << group.name;
    // A sink left out would have been noticed.
    scale_columns(std::get<Tensor>(block[group.sinks.back()].weight), {2, 1});
    EXPECT_NE(output_of(block, config, *backend_), expected) << group.name;
  }
}

class ReaderModelTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    backend_ = open_backend({.threads = 2});
    checkpoint_ =
        std::make_unique<io::Checkpoint>(io::Checkpoint::open(test::repo_dir() / "models/reader"));
    model_ = std::make_unique<Model>(*checkpoint_, *backend_);
  }
  static void TearDownTestSuite() {
    model_.reset();
    checkpoint_.reset();
    backend_.reset();
  }

  static ModelInput picture_input(const char* image, const std::string& question) {
    const std::string file = test::read_text(test::repo_dir() / "tests/data/images" / image);
    std::vector<Patches> images;
    images.push_back(model_->processor().read_image(std::as_bytes(std::span(file)), image));
    return model_->processor().prepare(
        "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>" + question +
            "<|im_end|>\n<|im_start|>assistant\n",
        std::move(images));
  }

  // Logits of all prompt tokens and of kNextToken after each, of prompts run as one batch.
  static std::vector<std::vector<float>> run(const std::vector<const ModelInput*>& inputs) {
    Arena scratch(*backend_);
    Context cx{.backend = *backend_, .scratch = scratch};
    std::vector<std::vector<ImageFeatures>> features;
    std::vector<KvCache> caches;
    for (const ModelInput* input : inputs) {
      features.push_back(model_->encode_images(cx, *input));
      caches.push_back(model_->make_cache(cx, input->tokens() + 1));
    }
    std::vector<Prompt> prompts;
    std::vector<NextToken> next;
    for (size_t i = 0; i < inputs.size(); ++i) {
      prompts.push_back({inputs[i], features[i], &caches[i]});
      next.push_back({kNextToken, inputs[i]->positions.next, &caches[i]});
    }
    const Tensor logits = model_->logits(cx, model_->prefill(cx, prompts));
    const Tensor stepped = model_->logits(cx, model_->step(cx, next));
    std::vector<std::vector<float>> out;
    int64_t begin = 0;
    for (size_t i = 0; i < inputs.size(); ++i) {
      out.push_back(values_of(logits.rows(begin, inputs[i]->tokens())));
      const std::vector<float> last = values_of(stepped.rows(static_cast<int64_t>(i), 1));
      out.back().insert(out.back().end(), last.begin(), last.end());
      begin += inputs[i]->tokens();
      EXPECT_EQ(caches[i].length(), inputs[i]->tokens() + 1);
    }
    return out;
  }

  static inline BackendPtr backend_;
  static inline std::unique_ptr<io::Checkpoint> checkpoint_;
  static inline std::unique_ptr<Model> model_;
};

TEST_F(ReaderModelTest, BatchedPromptsGiveWhatEachGivesAlone) {
  const ModelInput picture = picture_input("rgb.png", "what is written in the image?");
  const ModelInput text = model_->processor().prepare("what is written in the image?", {});
  const ModelInput other = picture_input("tall.png", "what is the word on the sign?");
  const auto together = run({&picture, &text, &other});
  EXPECT_EQ(together[0], run({&picture})[0]);
  EXPECT_EQ(together[1], run({&text})[0]);
  EXPECT_EQ(together[2], run({&other})[0]);
  EXPECT_EQ(run({&other, &picture})[1], together[0]);
  EXPECT_NE(together[0].back(), together[2].back());  // else equality says little
}

// A long prompt on a slow machine takes minutes: whoever wants it to stop does not wait for its
// end.
TEST_F(ReaderModelTest, StopsBetweenLayers) {
  const ModelInput input = picture_input("rgb.png", "what is it?");
  Arena scratch(*backend_);
  Context cx{.backend = *backend_, .scratch = scratch};
  int calls = 0;
  cx.between = [&] {
    if (++calls == 2) throw Error(ErrorCode::interrupted, "interrupted");
  };
  error_of(ErrorCode::interrupted, [&] { model_->encode_images(cx, input); });
  EXPECT_EQ(calls, 2);
  const std::vector<ImageFeatures> features = model_->encode_images(cx, input);
  KvCache cache = model_->make_cache(cx, input.tokens());
  const Prompt prompt{&input, features, &cache};
  calls = 0;
  error_of(ErrorCode::interrupted, [&] { model_->prefill(cx, {&prompt, 1}); });
  EXPECT_EQ(calls, 2);
}

TEST_F(ReaderModelTest, StepIsOneMoreTokenOfThePrompt) {
  const ModelInput input = picture_input("rgb.png", "what is it?");
  const std::vector<float> stepped = run({&input}).front();
  ModelInput longer = input;
  longer.ids.push_back(kNextToken);
  longer.positions.tokens.push_back(
      {input.positions.next, input.positions.next, input.positions.next});
  longer.positions.next += 1;
  const std::vector<float> prefilled = run({&longer}).front();
  ASSERT_GT(prefilled.size(), stepped.size());
  float worst = 0;
  for (size_t i = 0; i < stepped.size(); ++i) {
    worst = std::max(worst, std::abs(stepped[i] - prefilled[i]));
  }
  EXPECT_LT(worst, 1e-3f);
}

}  // namespace
}  // namespace squint::qwen3_vl
