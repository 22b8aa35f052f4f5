#include "squint/engine.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "io/error_of.h"
#include "support/paths.h"
#include "support/tiny_checkpoint.h"

namespace squint {
namespace {

using test::error_of;
using test::says;

std::filesystem::path picture(const char* name) {
  return test::repo_dir() / "tests/data/images" / name;
}

Request text_request() {
  Request request;
  request.turns = {{.text = "what is written in the image?"}};
  request.max_tokens = 12;
  request.sampling.temperature = 0;
  return request;
}

Request image_request() {
  Request request = text_request();
  request.turns[0].images = {{.path = picture("rgb.png")}};
  return request;
}

class EngineTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    backend_ = open_backend({.threads = 2});
    engine_ = std::make_unique<Engine>(test::repo_dir() / "models/reader", *backend_);
  }
  static void TearDownTestSuite() {
    engine_.reset();
    backend_.reset();
  }
  static Engine fresh() { return Engine(test::repo_dir() / "models/reader", *backend_); }

  static inline BackendPtr backend_;
  static inline std::unique_ptr<Engine> engine_;
};

// What a completion says; the times differ.
void expect_same(const Completion& a, const Completion& b) {
  EXPECT_EQ(a.ids, b.ids);
  EXPECT_EQ(a.text, b.text);
  EXPECT_EQ(a.finish, b.finish);
  EXPECT_EQ(a.prompt_tokens, b.prompt_tokens);
  EXPECT_EQ(a.image_tokens, b.image_tokens);
}

TEST_F(EngineTest, DefaultsAreTheCheckpoints) {
  const Sampling sampling = engine_->default_sampling();
  EXPECT_EQ(sampling.temperature, 0.7);
  EXPECT_EQ(sampling.top_k, 20);
  EXPECT_EQ(sampling.top_p, 0.8);
  EXPECT_GT(engine_->weight_bytes(), 35'000'000);
  EXPECT_GE(engine_->cache_bytes(100), 100 * 6 * 2 * 2 * 64 * 4);  // both, layers, heads, floats
  EXPECT_GE(engine_->cache_bytes(200), 2 * engine_->cache_bytes(96));
}

TEST_F(EngineTest, ImagesHaveTheAreaThatWasAskedFor) {
  Request request = image_request();
  request.min_pixels = 1;
  request.max_pixels = 4 * 32 * 32;
  request.max_tokens = 1;
  EXPECT_LE(engine_->generate(request).image_tokens, 4);
  request.min_pixels = request.max_pixels = 512 * 512;
  const int64_t many = engine_->generate(request).image_tokens;
  EXPECT_GT(many, 200);
  EXPECT_LE(many, 290);  // both limits at once: whole tokens come close

  request.min_pixels = 2;
  request.max_pixels = 1;
  EXPECT_TRUE(
      says(error_of(ErrorCode::usage, [&] { engine_->generate(request); }), "from 2 to 1 pixels"));
}

TEST_F(EngineTest, PiecesAreTheText) {
  Request request = image_request();
  request.sampling.temperature = 3;  // strange tokens, parts of characters among them
  request.max_tokens = 60;
  int longest = 0;
  for (uint64_t seed = 0; seed < 5; ++seed) {
    request.sampling.seed = seed;
    std::string streamed;
    int pieces = 0;
    const Completion answer = engine_->generate(request, [&](const std::string& piece) {
      EXPECT_FALSE(piece.empty());
      streamed += piece;
      ++pieces;
    });
    EXPECT_EQ(streamed, answer.text) << "seed " << seed;
    longest = std::max(longest, pieces);
  }
  EXPECT_GT(longest, 1);
}

TEST_F(EngineTest, CountsTokens) {
  const Completion words = engine_->generate(text_request());
  const Completion image = engine_->generate(image_request());
  EXPECT_EQ(words.image_tokens, 0);
  EXPECT_GT(image.image_tokens, 0);
  EXPECT_EQ(image.prompt_tokens, words.prompt_tokens + image.image_tokens + 2);  // start and end
  EXPECT_GT(image.ms_images, 0);
  EXPECT_EQ(words.ms_images, 0);
  EXPECT_GT(image.ms_prefill, 0);
}

TEST_F(EngineTest, SameSeedSameAnswer) {
  Request request = image_request();
  request.sampling.temperature = 2;
  request.sampling.seed = 5;
  const Completion first = engine_->generate(request);
  expect_same(engine_->generate(request), first);
}

TEST_F(EngineTest, SeedsDiffer) {
  Request request = text_request();
  request.sampling.temperature = 2;
  request.max_tokens = 4;
  std::set<std::vector<int32_t>> answers;
  for (uint64_t seed = 0; seed < 20; ++seed) {
    request.sampling.seed = seed;
    answers.insert(engine_->generate(request).ids);
  }
  EXPECT_GT(answers.size(), 1u);
}

TEST_F(EngineTest, GreedyIgnoresTheSeed) {
  Request request = image_request();
  const Completion first = engine_->generate(request);
  request.sampling.seed = 77;
  request.sampling.top_p = 0.1;
  expect_same(engine_->generate(request), first);
}

TEST_F(EngineTest, RequestsLeaveNothingBehind) {
  const Completion words = fresh().generate(text_request());
  const Completion image = fresh().generate(image_request());
  EXPECT_NE(words.ids, image.ids);  // else this test could not fail
  Engine engine = fresh();
  expect_same(engine.generate(image_request()), image);
  expect_same(engine.generate(text_request()), words);
  expect_same(engine.generate(image_request()), image);
  Request two = image_request();
  two.turns[0].images.push_back({.path = picture("tall.png")});
  engine.generate(two);
  expect_same(engine.generate(text_request()), words);
}

TEST_F(EngineTest, FailedRequestsLeaveNothingBehind) {
  const Completion image = engine_->generate(image_request());
  Request broken = image_request();
  broken.turns[0].images.push_back({.path = "broken.png", .bytes = "no image"});
  EXPECT_TRUE(
      says(error_of(ErrorCode::bad_input, [&] { engine_->generate(broken); }), "broken.png"));
  expect_same(engine_->generate(image_request()), image);
}

// Others in the batch, longer and shorter, with images and without, sampled and greedy.
TEST_F(EngineTest, TogetherIsAsAlone) {
  std::vector<Request> requests = {text_request(), image_request(), text_request(),
                                   image_request()};
  requests[0].max_tokens = 1;
  requests[2].sampling = {.temperature = 1, .seed = 7};
  requests[3].turns[0].text = "and this?";
  requests[3].max_tokens = 30;
  const std::vector<Completion> together = engine_->generate_together(requests);
  ASSERT_EQ(together.size(), requests.size());
  for (size_t i = 0; i < requests.size(); ++i) {
    SCOPED_TRACE(i);
    expect_same(together[i], engine_->generate(requests[i]));
    EXPECT_GT(together[i].ms_prefill, 0);
  }
  EXPECT_TRUE(engine_->generate_together({}).empty());
}

TEST_F(EngineTest, ImagesInMemoryAreThoseOfFiles) {
  Request request = image_request();
  request.turns[0].images = {{.path = "name only", .bytes = test::read_text(picture("rgb.png"))}};
  expect_same(engine_->generate(request), engine_->generate(image_request()));
}

TEST_F(EngineTest, LongAnswersAreCut) {
  Request request = text_request();
  request.sampling.temperature = 2;
  request.max_tokens = 1;
  for (uint64_t seed = 0; seed < 4; ++seed) {
    request.sampling.seed = seed;
    const Completion answer = engine_->generate(request);
    EXPECT_EQ(answer.ids.size(), answer.finish == FinishReason::length ? 1u : 0u);
  }
  request = image_request();
  const Completion whole = engine_->generate(request);
  ASSERT_GT(whole.ids.size(), 2u);
  request.max_tokens = 2;
  const Completion cut = engine_->generate(request);
  EXPECT_EQ(cut.finish, FinishReason::length);
  EXPECT_EQ(cut.ids, std::vector<int32_t>(whole.ids.begin(), whole.ids.begin() + 2));
}

TEST_F(EngineTest, EndTokenIsNoPartOfTheAnswer) {
  Request request = image_request();
  request.max_tokens = 200;
  const Completion answer = engine_->generate(request);
  EXPECT_EQ(answer.finish, FinishReason::stop);
  for (const int32_t end : {998, 1000}) EXPECT_EQ(std::ranges::count(answer.ids, end), 0);
  EXPECT_EQ(answer.text.find("<|im_end|>"), std::string::npos);
}

TEST_F(EngineTest, StopsBeforeItStarts) {
  std::stop_source stop;
  stop.request_stop();
  error_of(ErrorCode::interrupted,
           [&] { engine_->generate(text_request(), {}, stop.get_token()); });
}

TEST_F(EngineTest, StopsWhileItAnswers) {
  Request request = image_request();
  const size_t whole = engine_->generate(request).ids.size();
  ASSERT_GT(whole, 2u);
  std::stop_source stop;
  size_t pieces = 0;
  const auto on_text = [&](const std::string&) {
    ++pieces;
    stop.request_stop();
  };
  error_of(ErrorCode::interrupted, [&] { engine_->generate(request, on_text, stop.get_token()); });
  EXPECT_EQ(pieces, 1u);
}

TEST_F(EngineTest, AnImageIsEncodedOnceInAConversation) {
  Engine engine = fresh();
  Request request = image_request();
  const Completion first = engine.generate(request);
  EXPECT_EQ(first.known_images, 0);
  const Completion again = engine.generate(request);
  EXPECT_EQ(again.known_images, 1);
  EXPECT_EQ(again.ids, first.ids);
  engine.generate(text_request());
  EXPECT_EQ(engine.generate(request).known_images, 0);
}

// Of a model that says the same again and again once its answer should have ended.
TEST_F(EngineTest, GuessesChangeNothingButTheNumberOfSteps) {
  const BackendPtr fast = open_backend({.name = "cpu", .arithmetic = Arithmetic::fast});
  Engine engine(test::repo_dir() / "models/reader", *fast);
  Request request = image_request();
  request.max_tokens = 120;
  request.ignore_end = true;
  const Completion guessed = engine.generate(request);
  request.guesses = false;
  const Completion alone = engine.generate(request);
  EXPECT_EQ(guessed.ids, alone.ids);
  EXPECT_EQ(guessed.text, alone.text);
  EXPECT_EQ(guessed.ids.size(), 120u);
  EXPECT_GT(guessed.right_guesses, 0);
  EXPECT_GE(guessed.guessed_tokens, guessed.right_guesses);
  EXPECT_EQ(alone.guessed_tokens, 0);
}

TEST_F(EngineTest, NonsenseIsRefused) {
  const auto refused = [&](ErrorCode code, const auto& change, const std::string& part) {
    Request request = text_request();
    change(request);
    EXPECT_TRUE(says(error_of(code, [&] { engine_->generate(request); }), part));
  };
  refused(
      ErrorCode::usage, [](Request& r) { r.max_tokens = 0; }, "max_tokens");
  refused(
      ErrorCode::usage, [](Request& r) { r.max_tokens = -5; }, "max_tokens");
  refused(
      ErrorCode::usage, [](Request& r) { r.sampling.temperature = -1; }, "temperature");
  refused(
      ErrorCode::usage, [](Request& r) { r.turns.clear(); }, "message");
  refused(
      ErrorCode::io, [](Request& r) { r.turns[0].images = {{.path = "/no/such.png"}}; },
      "/no/such.png");
  refused(
      ErrorCode::bad_input, [](Request& r) { r.turns[0].text = "a <|image_pad|>"; },
      "1 image placeholders for 0 images");
  refused(
      ErrorCode::bad_input,
      [](Request& r) {
        for (int i = 0; i < 2100; ++i) r.turns[0].text += "1 ";
      },
      "made for 4096");
}

TEST_F(EngineTest, MissingModel) {
  error_of(ErrorCode::io, [] { Engine("/no/such/model", *backend_); });
}

// A model for 24 positions whose only end token is one it can never draw.
class ShortEngineTest : public ::testing::Test {
 protected:
  ShortEngineTest() : files_(test::tiny_checkpoint(3)) {
    files_.patch("config.json", R"({"text_config": {"max_position_embeddings": 24}})");
    files_.files["generation_config.json"] = R"({"eos_token_id": 1023000})";
  }
  Engine engine() {
    files_.write(dir_.path());
    return Engine(dir_.path(), *backend_);
  }
  static Request request() {
    Request request;
    request.turns = {{.text = "ab"}};
    request.max_tokens = std::numeric_limits<int64_t>::max();
    request.sampling.temperature = 0;
    return request;
  }

  BackendPtr backend_ = open_backend({.threads = 2});
  test::TinyCheckpoint files_;
  test::TempDir dir_;
};

TEST_F(ShortEngineTest, AnswersEndWithThePositions) {
  Engine short_engine = engine();
  const Completion answer = short_engine.generate(request());
  EXPECT_EQ(answer.finish, FinishReason::length);
  EXPECT_EQ(answer.prompt_tokens + static_cast<int64_t>(answer.ids.size()), 24);
  EXPECT_EQ(short_engine.default_sampling().temperature, 0);
}

TEST_F(ShortEngineTest, AnyOfTheEndTokensEnds) {
  const std::vector<int32_t> ids = engine().generate(request()).ids;
  const int32_t end = ids.back();
  const auto first = std::ranges::find(ids, end) - ids.begin();
  files_.files["generation_config.json"] =
      "{\"eos_token_id\": [1023000, " + std::to_string(end) + "]}";
  const Completion answer = engine().generate(request());
  EXPECT_EQ(answer.finish, FinishReason::stop);
  EXPECT_EQ(answer.ids, std::vector<int32_t>(ids.begin(), ids.begin() + first));
  // Without generation_config.json the model's own end token counts.
  files_.files.erase("generation_config.json");
  std::filesystem::remove(dir_.path() / "generation_config.json");
  for (const std::string& tokens :
       {std::to_string(end), "[1023000, " + std::to_string(end) + "]"}) {
    files_.patch("config.json", "{\"text_config\": {\"eos_token_id\": " + tokens + "}}");
    EXPECT_EQ(engine().generate(request()).ids, answer.ids) << tokens;
  }
}

TEST_F(ShortEngineTest, RowsOfTheHeadWithoutATokenAreNeverDrawn) {
  // 16 more rows than the tokenizer has ids, which would win every draw.
  Tensor head = Tensor::on_host(DType::f32, {1040, 32});
  Tensor norm = Tensor::on_host(DType::f32, {32});
  for (int64_t i = 0; i < head.numel(); ++i) {
    head.span<float>()[i] = i < 1024 * 32 ? 0.0f : (i % 2 == 0 ? 9.0f : -9.0f);
  }
  std::ranges::fill(norm.span<float>(), 1.0f);
  Tensor table = Tensor::on_host(DType::f32, {1040, 32});
  for (int64_t i = 0; i < table.numel(); ++i) table.span<float>()[i] = i % 2 == 0 ? 1.0f : -1.0f;
  files_.tensors["lm_head.weight"] = head;
  files_.tensors["model.language_model.norm.weight"] = norm;
  files_.tensors["model.language_model.embed_tokens.weight"] = table;
  files_.patch("config.json", R"({"text_config": {"vocab_size": 1040}})");
  for (const double temperature : {0.0, 1.0}) {
    Request r = request();
    r.sampling.temperature = temperature;
    for (const int32_t id : engine().generate(r).ids) EXPECT_LT(id, 1024);
  }
}

}  // namespace
}  // namespace squint
