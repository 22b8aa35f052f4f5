#include "runtime/teacher_forcing.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "io/error_of.h"
#include "runtime/sampler.h"
#include "squint/engine.h"
#include "support/paths.h"

namespace squint::runtime {
namespace {

using qwen3_vl::Model;

constexpr int32_t kEnd = 1000;  // <|im_end|>
constexpr const char* kQuestion = "what is written in the image?";

std::filesystem::path picture() { return test::repo_dir() / "tests/data/images/rgb.png"; }

class TeacherForcingTest : public ::testing::Test {
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

  static ForcedInput forced(const QuestionAnswer& row) { return force(model_->processor(), row); }

  static std::vector<std::vector<float>> logits_of(const std::vector<ForcedInput>& rows) {
    Arena scratch(*backend_);
    Context cx{.backend = *backend_, .scratch = scratch};
    std::vector<std::vector<float>> out;
    forced_logits(cx, *model_, rows, [&](size_t row, const Tensor& logits) {
      EXPECT_EQ(row, out.size());
      EXPECT_EQ(logits.shape(), (Shape{rows[row].answer_tokens, 1024}));
      const auto values = logits.span<const float>();
      out.emplace_back(values.begin(), values.end());
    });
    return out;
  }

  static inline BackendPtr backend_;
  static inline std::unique_ptr<io::Checkpoint> checkpoint_;
  static inline std::unique_ptr<Model> model_;
};

TEST_F(TeacherForcingTest, AnswerStandsAtTheEnd) {
  for (const char* answer :
       {"MAROON", "", "12/08/1984", "\n\nnew line", " two  words ", "\xc3\xa9"}) {
    const ForcedInput row = forced({kQuestion, {picture()}, answer});
    const auto& tokenizer = model_->processor().tokenizer();
    const std::vector<int32_t>& ids = row.input.ids;
    ASSERT_GT(row.input.tokens(), row.answer_tokens);
    EXPECT_EQ(ids.back(), kEnd);
    const std::vector<int32_t> tail(ids.end() - row.answer_tokens, ids.end() - 1);
    EXPECT_EQ(tokenizer.decode(tail, /*skip_special=*/false), answer);
    const std::vector<int32_t> head(ids.begin(), ids.end() - row.answer_tokens);
    EXPECT_TRUE(tokenizer.decode(head, false).ends_with("<|im_start|>assistant\n")) << answer;
    EXPECT_EQ(row.input.images.size(), 1u);
  }
}

TEST_F(TeacherForcingTest, QuestionsWithoutAnImage) {
  const ForcedInput row = forced({kQuestion, {}, "no"});
  EXPECT_EQ(row.input.image_tokens(), 0);
}

TEST_F(TeacherForcingTest, MissingImageIsNamed) {
  EXPECT_TRUE(test::says(test::error_of(ErrorCode::io,
                                        [] {
                                          forced({kQuestion, {"/no/such.png"}, "no"});
                                        }),
                         "/no/such.png"));
}

// The model's own greedy answer is what it predicts, token by token, the end included.
TEST_F(TeacherForcingTest, GreedyAnswerIsPredicted) {
  Engine engine(test::repo_dir() / "models/reader", *backend_);
  Request request;
  request.turns = {{.text = kQuestion, .images = {{.path = picture()}}}};
  request.sampling.temperature = 0;
  const Completion answer = engine.generate(request);
  ASSERT_EQ(answer.finish, FinishReason::stop);
  std::vector<int32_t> expected = answer.ids;
  // Another way to spell the same text would be another answer.
  ASSERT_EQ(model_->processor().tokenizer().encode(answer.text), answer.ids);
  expected.push_back(kEnd);
  const auto logits = logits_of({forced({kQuestion, {picture()}, answer.text})});
  std::vector<int32_t> predicted;
  for (size_t at = 0; at < logits[0].size(); at += 1024) {
    predicted.push_back(argmax(std::span(logits[0]).subspan(at, 1024)));
  }
  EXPECT_EQ(predicted, expected);
}

TEST_F(TeacherForcingTest, BatchedRowsGiveWhatEachGivesAlone) {
  const ForcedInput image = forced({kQuestion, {picture()}, "MAROON"});
  const ForcedInput text = forced({"who?", {}, "no one knows"});
  const auto together = logits_of({image, text});
  ASSERT_EQ(together.size(), 2u);
  EXPECT_EQ(together[0], logits_of({image})[0]);
  EXPECT_EQ(together[1], logits_of({text})[0]);
}

}  // namespace
}  // namespace squint::runtime
