// Models compared layer by layer, against the same models held whole.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "io/error_of.h"
#include "models/qwen3_vl/model.h"
#include "quantize/predictions.h"
#include "runtime/sampler.h"
#include "squint/compare.h"
#include "squint/engine.h"
#include "squint/quantize.h"
#include "support/paths.h"
#include "support/tiny_checkpoint.h"

namespace squint {
namespace {

namespace fs = std::filesystem;
using test::error_of;
using test::says;

constexpr const char* kImage = "<|vision_start|><|image_pad|><|vision_end|>";

// A conversation in pieces that are tokenized apart; every second one is an answer.
struct Row {
  std::vector<std::string> pieces;
  std::vector<std::string> images;
};

const std::vector<Row> kBenchmark = {
    {{std::string("<|im_start|>user\n") + kImage + "what is it?<|im_end|>\n<|im_start|>assistant\n",
      "A12<|im_end|>"},
     {"rgb.png"}},
    {{std::string("<|im_start|>user\n") + kImage + "who?<|im_end|>\n<|im_start|>assistant\n",
      "\n no one<|im_end|>"},
     {"tall.png"}},
    {{std::string("<|im_start|>user\n") + kImage + "when?<|im_end|>\n<|im_start|>assistant\n",
      "1 漢<|im_end|>"},
     {"rgb.png"}},
};
const std::vector<Row> kConversations = {
    {{"<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n", "hello<|im_end|>",
      std::string("\n<|im_start|>user\n") + kImage +
          "what is it?<|im_end|>\n<|im_start|>assistant\n",
      "A 7<|im_end|>", "\n"},
     {"rgb.png"}},
    {{"<|im_start|>user\nno answer<|im_end|>\n"}, {}},
    {{"<|im_start|>user\nonly words<|im_end|>\n<|im_start|>assistant\n", "yes<|im_end|>", "\n"},
     {}},
};

class ModelComparison : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    backend_ = open_backend({.threads = 2});
    dir_ = std::make_unique<test::TempDir>();
    for (const char* folder : {"base", "far", "images"}) fs::create_directories(path(folder));
    test::tiny_checkpoint(5).write(path("base"));
    test::tiny_checkpoint(6).write(path("far"));  // other weights everywhere
    quantize_checkpoint({.model = path("base"),
                         .output = path("packed"),
                         .method = QuantizeMethod::rtn,
                         .observer = RangeObserver::minmax,
                         .group_size = 16,
                         .signed_scales = false},
                        *backend_);
    for (const char* image : {"rgb.png", "tall.png"}) {
      fs::copy_file(test::repo_dir() / "tests/data/images" / image, path("images") / image);
    }
    test::write_text(path("OCRBench.json"), R"([
      {"image_path": "rgb.png", "question": "what is it?", "answers": ["A12"], "type": "t",
       "dataset_name": "d"},
      {"image_path": "tall.png", "question": "who?", "answers": ["\n no one", "x"], "type": "t",
       "dataset_name": "d"},
      {"image_path": "rgb.png", "question": "when?", "answers": ["1 漢"], "type": "t",
       "dataset_name": "d"}])");
    test::write_text(path("rows.jsonl"),
                     R"({"messages": [{"role": "user", "content": "hi"},)"
                     R"({"role": "assistant", "content": "hello"},)"
                     R"({"role": "user", "content": [{"type": "image", "image": "images/rgb.png"},)"
                     R"({"type": "text", "text": "what is it?"}]},)"
                     R"({"role": "assistant", "content": "A 7"}]})"
                     "\n"
                     R"({"messages": [{"role": "user", "content": "no answer"}]})"
                     "\n"
                     R"({"messages": [{"role": "user", "content": "only words"},)"
                     R"({"role": "assistant", "content": "yes"}]})"
                     "\n");
  }
  static void TearDownTestSuite() {
    dir_.reset();
    backend_.reset();
  }

  static fs::path path(const std::string& name) { return dir_->path() / name; }
  static CompareOptions options(const std::string& other, const std::string& data) {
    return {.base = path("base"), .others = {path(other)}, .data = path(data)};
  }
  static Divergence compare(const CompareOptions& options) {
    return compare_models(options, *backend_).front();
  }

  // Logits [tokens, vocab] and KL of the answer tokens, by models that are held whole.
  struct Whole {
    io::Checkpoint checkpoint;
    qwen3_vl::Model model;

    explicit Whole(const std::string& name)
        : checkpoint(io::Checkpoint::open(path(name))), model(checkpoint, *backend_) {}

    std::vector<float> logits(const qwen3_vl::ModelInput& input) const {
      Arena scratch(*backend_);
      Context cx{.backend = *backend_, .scratch = scratch};
      const auto features = model.encode_images(cx, input);
      KvCache cache = model.make_cache(cx, input.tokens());
      const qwen3_vl::Prompt prompt{&input, features, &cache};
      const auto values = model.logits(cx, model.prefill(cx, {&prompt, 1})).span<const float>();
      return {values.begin(), values.end()};
    }
  };
  static std::vector<double> expected_kl(const std::string& other, const std::vector<Row>& rows) {
    const Whole p("base");
    const Whole q(other);
    const auto& tokenizer = p.model.processor().tokenizer();
    std::vector<double> kl;
    for (const Row& row : rows) {
      std::vector<qwen3_vl::Patches> images;
      for (const std::string& image : row.images) {
        images.push_back(p.model.processor().read_image(path("images") / image));
      }
      std::string prompt;
      for (const std::string& piece : row.pieces) prompt += piece;
      qwen3_vl::ModelInput input = p.model.processor().prepare(prompt, images);
      if (row.pieces.size() == 2) {
        input = p.model.processor().prepare(row.pieces[0], std::move(images), row.pieces[1]);
      }
      const std::vector<float> base = p.logits(input);
      const std::vector<float> found = q.logits(input);
      size_t at = input.ids.size();  // of the end of a piece, the last one first
      std::vector<double> row_kl;
      for (size_t i = row.pieces.size(); i-- > 0;) {
        const size_t tokens = tokenizer.encode(row.pieces[i]).size();
        for (size_t t = at; i % 2 == 1 && t-- > at - tokens;) {
          row_kl.push_back(quantize::kl_divergence(std::span(base).subspan((t - 1) * 1024, 1024),
                                                   std::span(found).subspan((t - 1) * 1024, 1024)));
        }
        // A piece with an image is longer than its text; what stands before it has none.
        at = i > 0 && row.pieces[i].find(kImage) != std::string::npos
                 ? tokenizer.encode(row.pieces[0]).size() + tokenizer.encode(row.pieces[1]).size()
                 : at - std::min(at, tokens);
      }
      kl.insert(kl.end(), row_kl.rbegin(), row_kl.rend());
    }
    return kl;
  }
  static double mean(const std::vector<double>& values) {
    double sum = 0;
    for (const double v : values) sum += v;
    return sum / static_cast<double>(values.size());
  }

  static inline BackendPtr backend_;
  static inline std::unique_ptr<test::TempDir> dir_;
};

TEST_F(ModelComparison, EqualsModelsThatAreHeldWhole) {
  for (const char* other : {"packed", "far"}) {
    for (const auto& [data, rows] :
         {std::pair{"OCRBench.json", kBenchmark}, std::pair{"rows.jsonl", kConversations}}) {
      const Divergence d = compare(options(other, data));
      const std::vector<double> kl = expected_kl(other, rows);
      EXPECT_EQ(d.tokens, static_cast<int64_t>(kl.size())) << other << data;
      EXPECT_EQ(d.kl, mean(kl)) << other << data;
      EXPECT_EQ(d.max, *std::ranges::max_element(kl)) << other << data;
      EXPECT_GT(d.kl, 0);
    }
  }
}

TEST_F(ModelComparison, PassesChangeNothing) {
  for (const char* other : {"packed", "far"}) {
    for (const char* data : {"OCRBench.json", "rows.jsonl"}) {
      CompareOptions o = options(other, data);
      int64_t passes = 0;
      o.on_plan = [&](const ComparePlan& plan) { passes = plan.passes; };
      const std::string once = compare(o).to_json();
      EXPECT_EQ(passes, 1);
      o.memory = 1;
      EXPECT_EQ(compare(o).to_json(), once);
      EXPECT_EQ(passes, 3);
      const BackendPtr single = open_backend({.threads = 1});
      EXPECT_EQ(compare_models(o, *single).front().to_json(), once);
    }
  }
}

TEST_F(ModelComparison, SeveralShareTheBasesPass) {
  CompareOptions o = options("packed", "OCRBench.json");
  o.others = {path("packed"), PlainRounding{.group_size = 16}, path("far")};
  const std::vector<Divergence> all = compare_models(o, *backend_);
  ASSERT_EQ(all.size(), 3u);
  EXPECT_EQ(all[0].to_json(), compare(options("packed", "OCRBench.json")).to_json());
  EXPECT_EQ(all[2].to_json(), compare(options("far", "OCRBench.json")).to_json());
  // The packed checkpoint was made by the same rounding.
  EXPECT_EQ(all[1].to_json(), all[0].to_json());
  EXPECT_EQ(all[1].other, "rounded to 4 bits, groups of 16");
}

TEST_F(ModelComparison, ErrorsGrowWhereModelsDiffer) {
  const Divergence none = compare(options("base", "OCRBench.json"));
  EXPECT_EQ(none.max, 0);
  EXPECT_EQ(none.top1, 1);
  EXPECT_EQ(none.layer_errors, (std::vector<double>{0, 0}));
  EXPECT_EQ(none.vision_error, 0);

  const Divergence packed = compare(options("packed", "OCRBench.json"));
  EXPECT_EQ(packed.vision_error, 0);
  EXPECT_GT(packed.layer_errors[0], 0.001);
  EXPECT_LT(packed.layer_errors[0], 0.5);
  EXPECT_GT(compare(options("far", "OCRBench.json")).vision_error, 0.1);

  // Only the second layer.
  test::TinyCheckpoint second = test::tiny_checkpoint(5);
  second.tensors.at("model.language_model.layers.1.mlp.up_proj.weight") =
      test::tiny_checkpoint(6).tensors.at("model.language_model.layers.1.mlp.up_proj.weight");
  fs::create_directories(path("second"));
  second.write(path("second"));
  const Divergence d = compare(options("second", "OCRBench.json"));
  EXPECT_EQ(d.layer_errors[0], 0);
  EXPECT_GT(d.layer_errors[1], 0);
}

TEST_F(ModelComparison, ErrorOfAVisionTowerThatIsTwiceAsLoud) {
  test::TinyCheckpoint loud = test::tiny_checkpoint(5);
  for (const char* name :
       {"model.visual.merger.linear_fc2.weight", "model.visual.merger.linear_fc2.bias"}) {
    const Tensor doubled = to_f32(loud.tensors.at(name));
    for (float& x : doubled.span<float>()) x *= 2;
    loud.tensors.at(name) = round_to_bf16(doubled);
  }
  fs::create_directories(path("loud"));
  loud.write(path("loud"));
  EXPECT_EQ(compare(options("loud", "OCRBench.json")).vision_error, 1);
}

TEST_F(ModelComparison, PartOfTheRows) {
  CompareOptions o = options("packed", "OCRBench.json");
  const Divergence all = compare(o);
  ASSERT_EQ(all.worst.size(), 3u);
  o.first = 1;
  o.limit = 1;
  o.worst_rows = 5;
  const Divergence second = compare(o);
  EXPECT_EQ(second.rows, 1);
  ASSERT_EQ(second.worst.size(), 1u);
  EXPECT_EQ(second.worst[0].row, 1);
  EXPECT_EQ(second.worst[0].question, "who?");
  EXPECT_EQ(second.worst[0].answer, "\n no one");
  EXPECT_TRUE(std::ranges::any_of(
      all.worst, [&](const RowDivergence& row) { return row.kl == second.worst[0].kl; }));
}

TEST_F(ModelComparison, KindsOfConversations) {
  std::vector<std::pair<std::string, int64_t>> found;
  for (const KindDivergence& k : compare(options("packed", "rows.jsonl")).kinds) {
    if (k.kind == "digits" || k.kind == "end") found.emplace_back(k.kind, k.of.tokens);
  }
  EXPECT_EQ(found, (std::vector<std::pair<std::string, int64_t>>{{"digits", 1}, {"end", 3}}));
}

// What squint quantize reports of the rows it held out.
TEST_F(ModelComparison, QuantizingMeasuresTheSame) {
  const QuantizeReport report = quantize_checkpoint({.model = path("base"),
                                                     .output = path("measured"),
                                                     .calibration = {{path("rows.jsonl")}},
                                                     .held_out = 2,  // all that have an answer
                                                     .group_size = 16,
                                                     .overrides = {{.pattern = "re:.*o_proj"}}},
                                                    *backend_);
  ASSERT_TRUE(report.held_out && report.held_out->plain);
  const auto expect_same = [](const TokenDivergence& a, const TokenDivergence& b) {
    EXPECT_EQ(a.tokens, b.tokens);
    EXPECT_EQ(a.kl, b.kl);
    EXPECT_EQ(a.median, b.median);
    EXPECT_EQ(a.p99, b.p99);
    EXPECT_EQ(a.top1, b.top1);
  };
  expect_same(report.held_out->quantized, compare(options("measured", "rows.jsonl")));
  EXPECT_GT(report.held_out->quantized.kl, 0);
  // Plain rounding gives each layer the bits it has.
  quantize_checkpoint({.model = path("base"),
                       .output = path("plain"),
                       .method = QuantizeMethod::rtn,
                       .observer = RangeObserver::minmax,
                       .group_size = 16,
                       .signed_scales = false,
                       .overrides = {{.pattern = "re:.*o_proj"}}},
                      *backend_);
  expect_same(*report.held_out->plain, compare(options("plain", "rows.jsonl")));
}

TEST_F(ModelComparison, WhatCannotBeCompared) {
  const auto fails = [](ErrorCode code, const CompareOptions& o, const std::string& part) {
    EXPECT_TRUE(says(error_of(code, [&] { compare_models(o, *backend_); }), part));
  };
  CompareOptions o = options("packed", "rows.jsonl");
  o.first = 3;
  fails(ErrorCode::bad_input, o, "has 3 rows, none from row 3 on");
  o.first = 1;
  o.limit = 1;
  fails(ErrorCode::bad_input, o, "no row has an answer");
  o.first = -1;
  fails(ErrorCode::usage, o, "found -1");
  o = options("packed", "rows.jsonl");
  o.others = {};
  fails(ErrorCode::usage, o, "no model to compare");
  o.others = {PlainRounding{.bits = 3}};
  fails(ErrorCode::usage, o, "found 3 bits");
  o.others = {PlainRounding{.group_size = 24}};
  fails(ErrorCode::bad_input, o, "groups of 24 do not divide the 32 columns of q_proj");
  o.base = path("packed");
  o.others = {PlainRounding{}};
  fails(ErrorCode::bad_input, o, "already quantized");
  o = options("packed", "rows.jsonl");
  o.others = {test::repo_dir() / "models/reader"};
  fails(ErrorCode::bad_input, o, "only a model and what was made from it can be compared");
}

TEST_F(ModelComparison, StopsWhenAsked) {
  for (const char* phase : {"reading", "images", "layer 1 of 2", "layer 2 of 2", "predictions"}) {
    std::stop_source source;
    CompareOptions o = options("packed", "OCRBench.json");
    o.stop = source.get_token();
    std::string last;
    o.on_progress = [&](const CompareProgress& p) {
      last = p.phase;
      if (p.phase == phase) source.request_stop();
    };
    error_of(ErrorCode::interrupted, [&] { compare_models(o, *backend_); });
    EXPECT_EQ(last, phase);
  }
}

TEST_F(ModelComparison, ProgressEndsAtItsTotal) {
  CompareOptions o = options("packed", "OCRBench.json");
  o.others.emplace_back(path("far"));
  o.memory = 1;
  CompareProgress last;
  o.on_progress = [&](const CompareProgress& p) {
    EXPECT_GE(p.done, last.done);
    last = p;
  };
  compare_models(o, *backend_);
  EXPECT_EQ(last.done, last.total);
}

// The state before a token predicts it: the model's own greedy answer, its end included.
TEST(AnswersOfTheModelItself, ArePredicted) {
  const fs::path folder = test::repo_dir() / "models/reader";
  const BackendPtr backend = open_backend({.threads = 2});
  Engine engine(folder, *backend);
  Request request;
  request.turns = {{.text = "what is written in the image?",
                    .images = {{.path = test::repo_dir() / "tests/data/images/rgb.png"}}}};
  request.sampling.temperature = 0;
  const Completion answer = engine.generate(request);
  ASSERT_EQ(answer.finish, FinishReason::stop);

  const io::Checkpoint checkpoint = io::Checkpoint::open(folder);
  const qwen3_vl::Model model(checkpoint, *backend);
  std::vector<qwen3_vl::Patches> images;
  images.push_back(model.processor().read_image(test::repo_dir() / "tests/data/images/rgb.png"));
  const qwen3_vl::ModelInput input = model.processor().prepare(
      std::string("<|im_start|>user\n") + kImage +
          "what is written in the image?<|im_end|>\n<|im_start|>assistant\n",
      std::move(images), answer.text + "<|im_end|>");
  Arena scratch(*backend);
  Context cx{.backend = *backend, .scratch = scratch};
  const auto features = model.encode_images(cx, input);
  KvCache cache = model.make_cache(cx, input.tokens());
  const qwen3_vl::Prompt prompt{&input, features, &cache};
  const Tensor logits = model.logits(cx, model.prefill(cx, {&prompt, 1}));
  const auto tokens = qwen3_vl::answer_tokens(input.ids, model.processor().tokenizer(),
                                              static_cast<int32_t>(model.config().image_token_id));
  EXPECT_EQ(tokens.size(), answer.ids.size() + 1);
  for (const qwen3_vl::AnswerToken& t : tokens) {
    EXPECT_EQ(runtime::argmax(logits.rows(t.index - 1, 1).span<const float>()),
              input.ids[static_cast<size_t>(t.index)]);
  }
}

}  // namespace
}  // namespace squint
