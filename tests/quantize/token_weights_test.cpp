#include "quantize/token_weights.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <utility>

#include "squint/backend.h"
#include "support/paths.h"
#include "support/tiny_checkpoint.h"

namespace squint::quantize {
namespace {

using qwen3_vl::LinearRole;

class TokenWeightsTest : public ::testing::Test {
 protected:
  TokenWeightsTest() {
    test::tiny_checkpoint(3).write(dir_.path());
    test::write_text(dir_.path() / "a.png",
                     test::read_text(test::repo_dir() / "tests/data/images/rgb.png"));
  }

  std::optional<TokenWeights> measured(const std::vector<std::string>& lines, int threads = 2) {
    const io::Checkpoint checkpoint = io::Checkpoint::open(dir_.path());
    const qwen3_vl::Config config = qwen3_vl::parse_config(checkpoint.config(), "config.json");
    const qwen3_vl::Weights weights(checkpoint);
    const qwen3_vl::Processor processor(checkpoint, config);
    std::vector<Conversation> rows;
    for (const std::string& line : lines) {
      rows.push_back(parse_conversation(line, dir_.path(), "row"));
    }
    const BackendPtr backend = open_backend({.threads = threads});
    Arena scratch(*backend);
    Context cx{.backend = *backend, .scratch = scratch};
    const auto nothing = [](int64_t) {};
    const Activations activations(cx, rows, processor, weights, config, nothing);
    layers_ = config.text.layers;
    int64_t last = 0;
    const auto on_part = [&](int64_t done, int64_t total) {
      EXPECT_LT(std::exchange(last, done), done);
      EXPECT_LE(done, total);
      complete_ = done == total;
    };
    return measure_token_weights(cx, activations, weights, config, 1 << 20, on_part);
  }

  test::TempDir dir_;
  int64_t layers_ = 0;
  bool complete_ = false;  // as reported
  const std::vector<std::string> rows_ = {
      R"({"messages": [{"role": "user", "content": [{"type": "image", "image": "a.png"}, {"type": "text", "text": "what?"}]}, {"role": "assistant", "content": "some words"}]})",
      R"({"messages": [{"role": "user", "content": "what?"}, {"role": "assistant", "content": "others"}]})"};
};

TEST_F(TokenWeightsTest, InTheLastLayerOnlyAnswersMatterBehindAttention) {
  auto weights = measured(rows_);
  ASSERT_TRUE(weights);
  EXPECT_TRUE(complete_);
  for (int64_t layer = 0; layer < layers_; ++layer) {
    for (const ClassWeights& w : weights->of(layer)) {
      EXPECT_EQ(*std::ranges::max_element(w), 1);
      for (const double x : w) EXPECT_GE(x, kLeastTokenWeight);
    }
  }
  for (const LinearRole role : {LinearRole::q, LinearRole::o, LinearRole::gate, LinearRole::down}) {
    EXPECT_EQ(weights->of(layers_ - 1)[static_cast<size_t>(role)],
              (ClassWeights{kLeastTokenWeight, kLeastTokenWeight, 1}));
  }
}

TEST_F(TokenWeightsTest, DoNotDependOnTheThreads) {
  auto one = measured(rows_, 1);
  auto three = measured(rows_, 3);
  for (int64_t layer = 0; layer < layers_; ++layer) EXPECT_EQ(one->of(layer), three->of(layer));
}

TEST_F(TokenWeightsTest, WithoutAnswersThereAreNone) {
  EXPECT_FALSE(measured({R"({"messages": [{"role": "user", "content": "what?"}]})"}));
}

TEST_F(TokenWeightsTest, TextWithoutAChatIsAllAnswers) {
  EXPECT_TRUE(measured({R"({"text": "some words, and some more"})"}));
}

}  // namespace
}  // namespace squint::quantize
