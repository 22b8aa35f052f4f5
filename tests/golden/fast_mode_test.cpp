// How far fast mode's predictions are from exact mode's, on the same device.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "backends/cuda/open_cuda.h"
#include "eval/ocrbench.h"
#include "models/qwen3_vl/chat_template.h"
#include "models/qwen3_vl/model.h"
#include "ops/copies.h"
#include "quantize/predictions.h"
#include "support/paths.h"

namespace squint::test {
namespace {

constexpr size_t kRows = 60;

using quantize::PredictedToken;

std::string prompt_of(const eval::Sample& sample) {
  using Kind = qwen3_vl::ContentPart::Kind;
  qwen3_vl::Message user;
  user.role = "user";
  user.content = {{.kind = Kind::image}, {.kind = Kind::text, .text = sample.question}};
  return qwen3_vl::render_chat({&user, 1}, {});
}

// A model that is led along given answers.
class Led {
 public:
  explicit Led(const BackendOptions& options)
      : backend_(open_backend(options)),
        model_(io::Checkpoint::open(repo_dir() / "models/reader"), *backend_),
        scratch_(*backend_) {}

  const qwen3_vl::Processor& processor() const { return model_.processor(); }

  // Logits before each token of the answer, the prompt's from products of matrices, the others from
  // steps. [answer, vocab], on the host.
  std::vector<Tensor> logits(const qwen3_vl::ModelInput& input, std::span<const int32_t> answer) {
    Context cx{.backend = *backend_, .scratch = scratch_};
    const Arena::Scope scope(scratch_);
    const auto features = model_.encode_images(cx, input);
    KvCache cache = model_.make_cache(cx, input.tokens() + static_cast<int64_t>(answer.size()));
    const qwen3_vl::Prompt prompt{&input, features, &cache};
    const Tensor hidden = model_.prefill(cx, {&prompt, 1});
    std::vector<Tensor> all = {on_host(cx, model_.logits(cx, hidden.rows(input.tokens() - 1, 1)))};
    for (size_t i = 0; i + 1 < answer.size(); ++i) {
      const qwen3_vl::NextToken next{answer[i], input.positions.next + static_cast<int64_t>(i),
                                     &cache};
      all.push_back(on_host(cx, model_.logits(cx, model_.step(cx, {&next, 1}))));
    }
    return all;
  }

 private:
  BackendPtr backend_;
  qwen3_vl::Model model_;
  Arena scratch_;
};

TokenDivergence divergence(const BackendOptions& exact_options,
                           const BackendOptions& fast_options) {
  Led exact(exact_options);
  Led fast(fast_options);
  const qwen3_vl::Processor& processor = exact.processor();
  std::vector<eval::Sample> samples = eval::load_ocrbench(repo_dir() / "data/synthocr");
  EXPECT_GE(samples.size(), kRows);
  samples.resize(kRows);
  std::vector<PredictedToken> tokens;
  for (const eval::Sample& sample : samples) {
    const qwen3_vl::ModelInput input =
        processor.prepare(prompt_of(sample), {processor.read_image(sample.image.path)});
    const std::vector<int32_t> answer =
        processor.tokenizer().encode(sample.answers.front() + "<|im_end|>");
    const std::vector<Tensor> base = exact.logits(input, answer);
    const std::vector<Tensor> other = fast.logits(input, answer);
    for (size_t i = 0; i < answer.size(); ++i) {
      const auto p = base[i].span<float>();
      const auto q = other[i].span<float>();
      tokens.push_back({.row = sample.index,
                        .same_top = std::ranges::max_element(p) - p.begin() ==
                                    std::ranges::max_element(q) - q.begin(),
                        .kl = quantize::kl_divergence(p, q)});
    }
  }
  const TokenDivergence found = quantize::summarize(tokens);
  fmt::print(
      "fast against exact over {} tokens: mean KL {:.3g}, p99 {:.3g}, most {:.3g}, same top {:.2f} "
      "%\n",
      found.tokens, found.kl, found.p99, found.max, 100 * found.top1);
  EXPECT_GT(found.kl, 0) << "both in one mode?";
  return found;
}

TEST(FastMode, PredictsAsExactModeDoes_cuda) {
  if (cuda::cards() == 0) GTEST_SKIP() << "no graphics card";
  BackendOptions options{.name = "cuda", .threads = 2, .arithmetic = Arithmetic::exact};
  BackendOptions fast = options;
  fast.arithmetic = Arithmetic::fast;
  EXPECT_LE(divergence(options, fast).kl, 5e-4);
}

class FastModeOnTheCpu : public ::testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Kernels, FastModeOnTheCpu,
                         ::testing::ValuesIn(runnable_kernels(Arithmetic::fast)),
                         [](const auto& test) { return test.param; });

TEST_P(FastModeOnTheCpu, PredictsAsExactModeDoes) {
  const BackendOptions exact{.name = "cpu", .threads = 2, .arithmetic = Arithmetic::exact};
  const BackendOptions fast{
      .name = "cpu", .threads = 2, .kernels = GetParam(), .arithmetic = Arithmetic::fast};
  EXPECT_LE(divergence(exact, fast).kl, 3e-4);
}

}  // namespace
}  // namespace squint::test
