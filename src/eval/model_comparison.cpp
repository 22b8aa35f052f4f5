// model_comparison.cpp: several models over the same rows, one decoder layer in memory at a time:
//
//     rows → images → states of the base ──→ layer of the base ──┬→ error of the layer
//                     states of the other ─→ layer of the other ─┘
//     after the last layer: states before the answers' tokens → heads → KL
//
// Where images and embeddings are equal, the other begins with a copy of the base's states.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <deque>

#include "eval/divergence.h"
#include "eval/ocrbench.h"
#include "ops/copies.h"
#include "quantize/activations.h"
#include "quantize/compared_model.h"
#include "quantize/predictions.h"
#include "squint/compare.h"
#include "squint/error.h"

namespace squint {
namespace {

namespace fs = std::filesystem;
using quantize::Activations;
using quantize::ComparedModel;
using quantize::Conversation;
using quantize::PredictedToken;
using qwen3_vl::AnswerToken;

constexpr size_t kReadAtOnce = 16;  // rows whose pixels are in memory at once

Conversation conversation_of(const eval::Sample& sample) {
  using Kind = qwen3_vl::ContentPart::Kind;
  qwen3_vl::Message user;
  user.role = "user";
  user.content = {{.kind = Kind::image}, {.kind = Kind::text, .text = sample.question}};
  return {.messages = {std::move(user)},
          .images = {{.path = sample.image.path, .read = sample.image.bytes}},
          .where = fmt::format("row {}", sample.index),
          .answer = sample.answers.front() + "<|im_end|>"};
}

bool is_conversations(const fs::path& data) {
  std::error_code unknown;  // Reading the file will say what is wrong.
  if (!fs::is_directory(data, unknown)) return data.extension() == ".jsonl";
  return !fs::exists(data / "OCRBench.json", unknown) &&
         fs::exists(data / "calibration.jsonl", unknown);
}

std::vector<Conversation> load_rows(const CompareOptions& options,
                                    const text::Tokenizer& tokenizer) {
  const int64_t end = options.limit > 0 ? options.first + options.limit : 0;  // 0: all
  std::vector<Conversation> rows;
  if (is_conversations(options.data)) {
    rows = quantize::load_calibration({.calibration = {{options.data}}, .rows = end},
                                      {.tokenizer = tokenizer});
  } else {
    for (const eval::Sample& sample : eval::load_ocrbench(options.data)) {
      rows.push_back(conversation_of(sample));
    }
    if (end > 0 && end < static_cast<int64_t>(rows.size())) rows.resize(static_cast<size_t>(end));
  }
  if (options.first >= static_cast<int64_t>(rows.size())) {
    throw Error(ErrorCode::bad_input,
                fmt::format("{}: has {} rows, none from row {} on", options.data.string(),
                            rows.size(), options.first));
  }
  rows.erase(rows.begin(), rows.begin() + options.first);
  return rows;
}

std::string question_of(const Conversation& row) {
  std::string text;
  for (const qwen3_vl::Message& message : row.messages) {
    if (message.role != "user") continue;
    text.clear();
    for (const qwen3_vl::ContentPart& part : message.content) text += part.text;
  }
  return text;
}

void check_options(const CompareOptions& options) {
  if (options.others.empty()) throw Error(ErrorCode::usage, "no model to compare the base with");
  for (const int64_t value : {options.first, options.limit, options.memory, options.worst_rows}) {
    if (value >= 0 && value <= int64_t{1} << 60) continue;
    throw Error(ErrorCode::usage,
                fmt::format("first row, number of rows, memory and worst rows: expected 0 or more, "
                            "found {}",
                            value));
  }
}

// Before every matrix product, so that a stop waits for one at most.
class Stopper : public LinearObserver {
 public:
  explicit Stopper(std::stop_token stop) : stop_(std::move(stop)) {}
  void saw(const LinearWeight&, const Tensor&) override { check(); }
  void check() const {
    if (stop_.stop_requested()) throw Error(ErrorCode::interrupted, "interrupted");
  }

 private:
  std::stop_token stop_;
};

// The base, every layer rounded alike.
ComparedModel rounded(const ComparedModel& base, const PlainRounding& rounding) {
  if ((rounding.bits != 4 && rounding.bits != 8) || rounding.group_size < 0) {
    throw Error(ErrorCode::usage,
                fmt::format("plain rounding: expected 4 or 8 bits and groups of 0 (a row) or more "
                            "columns, found {} bits, groups of {}",
                            rounding.bits, rounding.group_size));
  }
  quantize::BlockSchemes alike;
  alike.linears.fill(QuantizationScheme{
      .bits = rounding.bits, .group_size = rounding.group_size, .symmetric = rounding.symmetric});
  return ComparedModel(
      base, quantize::ModuleSchemes(static_cast<size_t>(base.config().text.layers), alike),
      fmt::format("rounded to {} bits, {}{}", rounding.bits,
                  rounding.group_size == 0 ? "a scale per row"
                                           : fmt::format("groups of {}", rounding.group_size),
                  rounding.symmetric ? "" : ", zero points"));
}

// ‖other − base‖² and ‖base‖².
struct Squares {
  double error = 0;
  double base = 0;

  double ratio() const { return error == 0 ? 0 : std::sqrt(error / base); }
};

// Adds up the tokens [tokens, hidden] for which `counts` is true, in their order.
void add_squares(Context& cx, const Tensor& base, const Tensor& other,
                 const std::function<bool(int64_t token)>& counts, Squares& total) {
  const Tensor base_host = on_host(cx, base);
  const Tensor other_host = on_host(cx, other);
  const auto a = base_host.span<float>();
  const auto b = other_host.span<float>();
  const auto width = static_cast<size_t>(base.dim(1));
  std::vector<Squares> tokens(static_cast<size_t>(base.dim(0)));
  cx.backend.host_threads().parallel_for(base.dim(0), 16, [&](int64_t from, int64_t to, int) {
    for (int64_t t = from; t < to; ++t) {
      Squares& sums = tokens[static_cast<size_t>(t)];
      const size_t begin = static_cast<size_t>(t) * width;
      for (size_t i = begin; i < begin + width; ++i) {
        const double error = static_cast<double>(b[i]) - a[i];
        sums.error += error * error;
        sums.base += static_cast<double>(a[i]) * a[i];
      }
    }
  });
  for (int64_t t = 0; t < base.dim(0); ++t) {
    if (!counts(t)) continue;
    total.error += tokens[static_cast<size_t>(t)].error;
    total.base += tokens[static_cast<size_t>(t)].base;
  }
}

// One of the models beside the base, and what is known of it so far.
struct Other {
  ComparedModel model;
  bool same_inputs;
  bool same_head;
  std::vector<Squares> layers;
  Squares vision;
  std::vector<PredictedToken> tokens;

  Other(ComparedModel made, const ComparedModel& base, const ComparedModel::OnPart& on_part)
      : model(std::move(made)),
        same_inputs(base.same_inputs(model, on_part)),
        same_head(base.same_head(model, on_part)),
        layers(static_cast<size_t>(base.config().text.layers)) {}
};

struct Pass {
  size_t first = 0;
  size_t count = 0;
  int64_t hidden_bytes = 0;
};

class Run {
 public:
  Run(const CompareOptions& options, Backend& backend)
      : options_(options),
        base_(options.base),
        processor_(base_.checkpoint(), base_.config()),
        scratch_(backend),
        stopper_(options.stop),
        cx_{.backend = backend, .scratch = scratch_, .observer = &stopper_},
        rows_(load_rows(options, processor_.tokenizer())) {
    for (const OtherModel& other : options.others) {
      const auto* rounding = std::get_if<PlainRounding>(&other);
      ComparedModel model = rounding != nullptr ? rounded(base_, *rounding)
                                                : ComparedModel(std::get<fs::path>(other));
      base_.expect_kin(model);
      others_.emplace_back(std::move(model), base_, [this] { stopper_.check(); });
    }
  }

  std::vector<Divergence> run() {
    for (size_t at = 0; at < rows_.size(); at += kReadAtOnce) {
      read_rows(at, std::min(rows_.size(), at + kReadAtOnce));
    }
    const std::vector<Pass> passes = plan();
    for (const Pass& pass : passes) run_pass(pass);
    std::vector<Divergence> out;
    for (const Other& other : others_) out.push_back(result(other));
    return out;
  }

 private:
  // What has to be known of a row before any is computed.
  struct RowFacts {
    int64_t tokens = 0;
    int64_t image_tokens = 0;
    int64_t pixels = 0;         // bytes of all its patches
    int64_t largest_image = 0;  // patches
    std::vector<AnswerToken> answer;
    std::string answer_text;
  };

  int64_t layers() const { return base_.config().text.layers; }
  int64_t others() const { return static_cast<int64_t>(others_.size()); }

  RowFacts facts_of(const Conversation& row) const {
    const qwen3_vl::ModelInput input = quantize::model_input(row, processor_);
    RowFacts facts{.tokens = input.tokens(), .image_tokens = input.image_tokens()};
    for (const qwen3_vl::Patches& image : input.images) {
      facts.pixels += image.values.bytes();
      facts.largest_image = std::max(facts.largest_image, image.values.dim(0));
    }
    facts.answer = qwen3_vl::answer_tokens(input.ids, processor_.tokenizer(),
                                           static_cast<int32_t>(base_.config().image_token_id));
    std::vector<int32_t> ids;
    for (const AnswerToken& t : facts.answer)
      ids.push_back(input.ids[static_cast<size_t>(t.index)]);
    facts.answer_text = processor_.tokenizer().decode(ids, /*skip_special=*/true);
    return facts;
  }

  void read_rows(size_t begin, size_t end) {
    facts_.resize(end);
    cx_.backend.host_threads().parallel_for(static_cast<int64_t>(end - begin), 1,
                                            [&](int64_t from, int64_t to, int) {
                                              for (auto i = begin + static_cast<size_t>(from);
                                                   i < begin + static_cast<size_t>(to); ++i) {
                                                facts_[i] = facts_of(rows_[i]);
                                              }
                                            });
    progress("reading", 0, 0);
  }

  // Models that encode the images themselves, the base among them.
  int64_t encoders() const {
    return 1 + std::ranges::count_if(others_, [](const Other& o) { return !o.same_inputs; });
  }

  // Of a row's hidden states and deepstack features, in all models.
  int64_t hidden_bytes(const RowFacts& row) const {
    const auto taps = static_cast<int64_t>(base_.config().vision.deepstack_blocks.size());
    return ((1 + others()) * row.tokens + encoders() * taps * row.image_tokens) *
           base_.config().text.hidden * byte_size(DType::f32);
  }

  std::vector<Pass> plan() {
    ComparePlan plan{.rows = static_cast<int64_t>(rows_.size())};
    std::vector<Pass> passes;
    for (size_t i = 0; i < facts_.size(); ++i) {
      const int64_t bytes = hidden_bytes(facts_[i]);
      if (passes.empty() || passes.back().hidden_bytes + bytes > options_.memory) {
        passes.push_back({.first = i});
      }
      ++passes.back().count;
      passes.back().hidden_bytes += bytes;
      plan.hidden_bytes = std::max(plan.hidden_bytes, passes.back().hidden_bytes);
      plan.tokens += facts_[i].tokens;
      plan.answer_tokens += static_cast<int64_t>(facts_[i].answer.size());
    }
    if (plan.answer_tokens == 0) {
      throw Error(ErrorCode::bad_input,
                  fmt::format("{}: no row has an answer of an assistant to predict",
                              options_.data.string()));
    }
    plan_cost(plan);
    plan.passes = static_cast<int64_t>(passes.size());
    plan.weight_bytes = weight_bytes();
    plan.scratch_bytes = scratch_bytes();
    plan.peak_bytes = plan.hidden_bytes + plan.weight_bytes + plan.scratch_bytes;
    if (options_.on_plan) options_.on_plan(plan);
    return passes;
  }

  // Weights that a token meets, in kilobytes, stand for the time it takes.
  void plan_cost(const ComparePlan& plan) {
    int64_t image_tokens = 0;
    for (const RowFacts& row : facts_) image_tokens += row.image_tokens;
    const int64_t merge = base_.config().vision.merge_size;
    const auto per_row = [&](int64_t tokens, int64_t bytes) {
      return std::max<int64_t>(1, tokens / plan.rows * (bytes / 1024));
    };
    cost_ = {.images = per_row(merge * merge * image_tokens, base_.vision_bytes()),
             .layer = per_row(plan.tokens, base_.block_bytes()),
             .predictions = per_row((1 + others()) * plan.answer_tokens, base_.head_bytes())};
    total_ = plan.rows * (encoders() * cost_.images + (1 + others()) * layers() * cost_.layer +
                          cost_.predictions);
  }

  int64_t weight_bytes() const {
    int64_t largest = std::max(base_.vision_bytes(), base_.block_bytes());
    int64_t heads = base_.head_bytes();
    for (const Other& other : others_) {
      const ComparedModel& model = other.model;
      largest = std::max({largest, model.vision_bytes(), model.block_bytes()});
      if (!other.same_head) heads += model.head_bytes();
    }
    return std::max(largest, heads);
  }

  int64_t scratch_bytes() const {
    const qwen3_vl::TextConfig& text = base_.config().text;
    const qwen3_vl::VisionConfig& vision = base_.config().vision;
    int64_t tokens = 0, longest = 0, pixels = 0, patches = 0;
    for (const RowFacts& row : facts_) {
      tokens += row.tokens;
      longest = std::max(longest, row.tokens);
      pixels = std::max(pixels, row.pixels);
      patches = std::max(patches, row.largest_image);
    }
    const int64_t chunk = std::max(longest, std::min(tokens, quantize::kChunkTokens));
    const int64_t layer = chunk * (4 * text.hidden + 2 * text.intermediate +
                                   (2 * text.heads + 4 * text.kv_heads + 1) * text.head_dim);
    const int64_t image = patches * (9 * vision.hidden + vision.intermediate);
    const int64_t logits = quantize::kLogitTokens * (1 + others()) * (text.vocab + 2 * text.hidden);
    return std::max({layer, image, logits}) * byte_size(DType::f32) +
           std::min<int64_t>(kReadAtOnce, static_cast<int64_t>(rows_.size())) * pixels;
  }

  void run_pass(const Pass& pass) {
    const std::span<const Conversation> rows = std::span(rows_).subspan(pass.first, pass.count);
    const auto encode = [&](const ComparedModel& model) {
      return Activations(cx_, rows, processor_, model.weights(), model.config(),
                         [&](int64_t done) { progress("images", done, cost_.images); });
    };
    Activations base = encode(base_);
    std::deque<Activations> others;
    for (Other& other : others_) {
      others.push_back(other.same_inputs ? base.copy(cx_) : encode(other.model));
      if (!other.same_inputs) add_vision_error(base, others.back(), other.vision);
    }
    for (int64_t layer = 0; layer < layers(); ++layer) {
      advance(base_, base, layer);
      for (size_t i = 0; i < others_.size(); ++i) {
        advance(others_[i].model, others[i], layer);
        Squares& squares = others_[i].layers[static_cast<size_t>(layer)];
        for (size_t c = 0; c < base.chunks().size(); ++c) {
          add_squares(
              cx_, base.chunks()[c].hidden, others[i].chunks()[c].hidden,
              [](int64_t) { return true; }, squares);
        }
      }
    }
    predict(pass, base, others);
  }

  void add_vision_error(const Activations& base, const Activations& other, Squares& total) {
    for (size_t c = 0; c < base.chunks().size(); ++c) {
      const Activations::Chunk& chunk = base.chunks()[c];
      std::vector<int32_t> ids;
      for (const Activations::Row& row : chunk.rows) {
        ids.insert(ids.end(), row.input.ids.begin(), row.input.ids.end());
      }
      const auto is_image = [&](int64_t token) {
        return ids[static_cast<size_t>(token)] == base_.config().image_token_id;
      };
      add_squares(cx_, chunk.hidden, other.chunks()[c].hidden, is_image, total);
    }
  }

  void advance(const ComparedModel& model, Activations& states, int64_t layer) {
    stopper_.check();
    const qwen3_vl::DecoderBlock block = model.block(cx_, layer);
    states.advance(cx_, block, nullptr, layer, [&](int64_t rows) {
      progress(fmt::format("layer {} of {}", layer + 1, layers()), rows, cost_.layer);
    });
  }

  void predict(const Pass& pass, const Activations& base, const std::deque<Activations>& others) {
    const qwen3_vl::OutputHead base_head(base_.weights(), base_.config(), cx_.backend);
    std::deque<qwen3_vl::OutputHead> own_heads;
    std::vector<quantize::Predictor> predictors;
    for (size_t i = 0; i < others_.size(); ++i) {
      stopper_.check();
      const ComparedModel& model = others_[i].model;
      const bool same = others_[i].same_head;
      predictors.push_back(
          {.states = others[i],
           .head = same ? base_head
                        : own_heads.emplace_back(model.weights(), model.config(), cx_.backend),
           .name = model.name()});
    }
    const std::vector<std::vector<PredictedToken>> tokens =
        quantize::compare_predictions(cx_, std::span(rows_).subspan(pass.first, pass.count),
                                      quantize::answer_places(base, processor_, base_.config()),
                                      {.states = base, .head = base_head, .name = base_.name()},
                                      predictors, [&] { stopper_.check(); });
    for (size_t i = 0; i < others_.size(); ++i) {
      for (PredictedToken token : tokens[i]) {
        token.row += static_cast<int64_t>(pass.first);
        others_[i].tokens.push_back(token);
      }
    }
    progress("predictions", static_cast<int64_t>(pass.count), cost_.predictions);
  }

  Divergence result(const Other& other) const {
    Divergence out{quantize::summarize(other.tokens)};
    out.base = base_.name();
    out.other = other.model.name();
    out.rows = static_cast<int64_t>(rows_.size());
    out.kinds = eval::summarize_kinds(other.tokens);
    for (const Squares& squares : other.layers) out.layer_errors.push_back(squares.ratio());
    out.vision_error = other.vision.ratio();
    out.worst = eval::worst_rows(other.tokens, options_.worst_rows);
    for (RowDivergence& row : out.worst) {
      const auto at = static_cast<size_t>(row.row);
      row.question = question_of(rows_[at]);
      row.answer = facts_[at].answer_text;
      row.row += options_.first;
    }
    return out;
  }

  void progress(const std::string& phase, int64_t rows, int64_t cost) {
    done_ += rows * cost;
    if (options_.on_progress) options_.on_progress({phase, done_, total_});
    stopper_.check();
  }

  const CompareOptions& options_;
  ComparedModel base_;
  qwen3_vl::Processor processor_;
  Arena scratch_;
  Stopper stopper_;
  Context cx_;
  std::vector<Conversation> rows_;
  std::vector<RowFacts> facts_;
  std::deque<Other> others_;
  struct {
    int64_t images = 0;
    int64_t layer = 0;
    int64_t predictions = 0;
  } cost_;  // of a row, on average
  int64_t done_ = 0;
  int64_t total_ = 1;  // until planned
};

}  // namespace

std::vector<Divergence> compare_models(const CompareOptions& options, Backend& backend) {
  check_options(options);
  return Run(options, backend).run();
}

}  // namespace squint
