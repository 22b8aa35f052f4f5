#include "models/qwen3_vl/decoder_gradient.h"

#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>

#include "base/random.h"
#include "ops/ops.h"
#include "squint/backend.h"
#include "support/paths.h"
#include "support/slopes.h"
#include "support/tiny_checkpoint.h"

namespace squint::qwen3_vl {
namespace {

constexpr int64_t kTokens = 7;
constexpr test::SlopeTolerance kTolerance{.step = 5e-3f, .error = 1e-2};

class DecoderGradientTest : public ::testing::Test {
 protected:
  DecoderGradientTest() {
    test::tiny_checkpoint(3).write(dir_.path());
    checkpoint_.emplace(io::Checkpoint::open(dir_.path()));
    config_ = parse_config(checkpoint_->config(), "config.json");
    weights_.emplace(*checkpoint_);
    block_ = DecoderBlockWeights::load(*weights_, config_.text, 0);
  }

  Tensor random(const Shape& shape) {
    const Tensor out = Tensor::on_host(DType::f32, shape);
    for (float& x : out.span<float>()) x = static_cast<float>(random_.uniform() * 2 - 1);
    return out;
  }

  // What comes out of the layer for two sequences, of 4 and 3 tokens.
  Tensor forward(const Tensor& hidden) {
    const Arena::Scope scope(scratch_);
    const Tensor out = Tensor::on_host(DType::f32, hidden.shape());
    backend_->copy(hidden, out);
    KvLayer first = ops::make_scratch_kv(cx_, config_.text.kv_heads, config_.text.head_dim, 4);
    KvLayer second = ops::make_scratch_kv(cx_, config_.text.kv_heads, config_.text.head_dim, 3);
    const std::vector<KvSlice> sequences = {{0, 4, &first}, {4, 3, &second}};
    DecoderBlock(block_, config_.text, 0, *backend_).forward(cx_, cosine_, sine_, sequences, out);
    return out;
  }

  BackendPtr backend_ = open_backend({.threads = 2});
  Arena scratch_{*backend_};
  Context cx_{.backend = *backend_, .scratch = scratch_};
  Random random_{4};
  test::TempDir dir_;
  std::optional<io::Checkpoint> checkpoint_;
  Config config_;
  std::optional<Weights> weights_;
  DecoderBlockWeights block_;
  Tensor cosine_;
  Tensor sine_;
};

TEST_F(DecoderGradientTest, IsTheSlopeOfTheLayer) {
  std::vector<Position> positions(kTokens);
  for (int64_t i = 0; i < kTokens; ++i) positions[static_cast<size_t>(i)] = {i, i, i};
  const RotaryTable rotary = text_rotary(positions, config_.text);
  cosine_ = rotary.cosine;
  sine_ = rotary.sine;
  const Tensor hidden = random({kTokens, config_.text.hidden});
  const Tensor c = random(hidden.shape());

  const Tensor used = Tensor::copy_of<float>(hidden.span<const float>(), hidden.shape());
  const Tensor gradient = Tensor::copy_of<float>(c.span<const float>(), c.shape());
  std::map<LinearRole, Shape> seen;
  const std::vector<KvSlice> sequences = {{0, 4, nullptr}, {4, 3, nullptr}};
  DecoderBlockGradient(block_, config_.text, *backend_)
      .run(cx_, cosine_, sine_, sequences, used, gradient,
           [&](LinearRole role, const Tensor& d_output) { seen[role] = d_output.shape(); });
  test::expect_slopes(
      hidden, c, gradient, [&] { return forward(hidden); }, kTolerance);
  EXPECT_EQ(seen.size(), kLinearRoles);
  for (const auto& [role, shape] : seen) {
    EXPECT_EQ(shape, Shape({kTokens, block_[role].out_features})) << short_name(role);
  }
}

TEST_F(DecoderGradientTest, OfTheHeadIsItsSlope) {
  const Tensor hidden = random({3, config_.text.hidden});
  const Tensor c = random({3, config_.text.vocab});
  const OutputHead head(*weights_, config_, *backend_);
  const Tensor gradient = Tensor::on_host(DType::f32, hidden.shape());
  head_gradient(cx_, *weights_, config_, hidden, c, gradient);
  const Arena::Scope scope(scratch_);
  test::expect_slopes(
      hidden, c, gradient, [&] { return head.logits(cx_, hidden); }, kTolerance);
}

}  // namespace
}  // namespace squint::qwen3_vl
