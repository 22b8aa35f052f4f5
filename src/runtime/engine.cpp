#include "squint/engine.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>

#include "base/process_memory.h"
#include "models/qwen3_vl/chat_template.h"
#include "models/qwen3_vl/model.h"
#include "models/qwen3_vl/stored_forms.h"
#include "runtime/generation_config.h"
#include "runtime/memory_plan.h"
#include "runtime/sampler.h"
#include "squint/error.h"
#include "text/stream_decoder.h"

namespace squint {
namespace {

using Clock = std::chrono::steady_clock;

double ms_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

void throw_if_stopped(const std::stop_token& stop) {
  if (stop.stop_requested()) throw Error(ErrorCode::interrupted, "interrupted");
}

// The template would drop what it does not know, and the answer would be about something else.
void check_turn(const Turn& turn) {
  if (turn.role != "system" && turn.role != "user" && turn.role != "assistant") {
    throw Error(ErrorCode::usage, fmt::format("turn: expected the role \"system\", \"user\" or "
                                              "\"assistant\", found \"{}\"",
                                              turn.role));
  }
  if (turn.role != "user" && !turn.images.empty()) {
    throw Error(
        ErrorCode::usage,
        fmt::format("turn: only the user shows images, found one of role \"{}\"", turn.role));
  }
}

qwen3_vl::Message message_of(const Turn& turn) {
  using Kind = qwen3_vl::ContentPart::Kind;
  qwen3_vl::Message message;
  message.role = turn.role;
  for (size_t i = 0; i < turn.images.size(); ++i) message.content.push_back({.kind = Kind::image});
  if (!turn.text.empty()) message.content.push_back({.kind = Kind::text, .text = turn.text});
  return message;
}

}  // namespace

class Engine::Impl {
 public:
  Impl(const std::filesystem::path& folder, Backend& backend)
      : program_bytes_(resident_bytes()),
        backend_(backend),
        checkpoint_(io::Checkpoint::open(folder)),
        model_(checkpoint_, backend),
        scratch_(backend) {
    if (const auto text = checkpoint_.side_file("generation_config.json")) {
      const std::string where = (folder / "generation_config.json").string();
      generation_ = runtime::parse_generation_config(parse_json(*text, where), where);
    }
    if (generation_.eos_token_ids.empty()) {
      generation_.eos_token_ids = model_.config().eos_token_ids;
    }
  }

  const Sampling& default_sampling() const { return generation_.sampling; }
  int64_t weight_bytes() const { return checkpoint_.tensor_bytes(); }
  FitPlan plan(const Request& request) const {
    const qwen3_vl::ModelInput input = read(request);
    std::vector<int64_t> patches;
    for (const qwen3_vl::Patches& image : input.images) patches.push_back(image.values.dim(0));
    const runtime::RunLength length{.patches = patches,
                                    .prompt = input.tokens(),
                                    .context = input.tokens() + limit_of(request, input)};
    const auto forms = qwen3_vl::stored_forms(checkpoint_.config(), io::kConfigFileName);
    FitPlan plan = runtime::in_words(
        runtime::plan_memory(model_.config(), forms, backend_, length, program_bytes_), length,
        runtime::text_form(model_.config(), forms));
    plan.model = checkpoint_.folder().string();
    return plan;
  }
  std::vector<int32_t> encode(const std::string& text) const {
    return model_.processor().tokenizer().encode(text);
  }
  int64_t cache_bytes(int64_t tokens) const {
    const qwen3_vl::TextConfig& c = model_.config().text;
    return c.layers * backend_.kv_bytes(c.kv_heads, c.head_dim, tokens);
  }

  Completion generate(const Request& request, const OnText& on_text, const std::stop_token& stop) {
    runtime::check_sampling(request.sampling);
    if (request.max_tokens < 1) {
      throw Error(ErrorCode::usage,
                  fmt::format("max_tokens: expected 1 or more, found {}", request.max_tokens));
    }
    Completion done;
    Context cx{.backend = backend_, .scratch = scratch_};
    const Arena::Scope scope(scratch_);
    const auto start = Clock::now();
    const qwen3_vl::ModelInput input = read(request);
    throw_if_stopped(stop);
    const std::vector<qwen3_vl::ImageFeatures> features = model_.encode_images(cx, input);
    throw_if_stopped(stop);
    done.prompt_tokens = input.tokens();
    done.image_tokens = input.image_tokens();
    if (!features.empty()) done.ms_images = ms_since(start);

    const auto prefill_start = Clock::now();
    const int64_t limit = limit_of(request, input);
    KvCache cache = model_.make_cache(cx, input.tokens() + limit);
    const qwen3_vl::Prompt prompt{&input, features, &cache};
    const Tensor hidden = model_.prefill(cx, {&prompt, 1});
    decode(cx, input, model_.logits(cx, hidden.rows(hidden.dim(0) - 1, 1)),
           {.request = request,
            .on_text = on_text,
            .stop = stop,
            .limit = limit,
            .prefill_start = prefill_start},
           cache, done);
    return done;
  }

 private:
  // Tokens of an answer, as the model's positions allow.
  int64_t limit_of(const Request& request, const qwen3_vl::ModelInput& input) const {
    const int64_t room = model_.config().text.max_positions - input.tokens();
    return std::min(request.max_tokens, std::max<int64_t>(room, 1));
  }

  struct Decoding {
    const Request& request;
    const OnText& on_text;
    const std::stop_token& stop;
    int64_t limit;
    Clock::time_point prefill_start;
  };

  qwen3_vl::ModelInput read(const Request& request) const {
    if (!request.ids.empty()) {
      if (request.turns.empty()) return model_.processor().prepare_ids(request.ids);
      throw Error(ErrorCode::usage, "request: expected turns or ids, found both");
    }
    std::vector<qwen3_vl::Message> messages;
    std::vector<qwen3_vl::Patches> images;
    const qwen3_vl::Processor& processor = model_.processor();
    const qwen3_vl::ImageProcessorConfig limits =
        with_areas(processor.image_config(), request.min_pixels, request.max_pixels);
    for (const Turn& turn : request.turns) {
      check_turn(turn);
      messages.push_back(message_of(turn));
      for (const ImageInput& image : turn.images) {
        images.push_back(image.bytes.empty()
                             ? processor.read_image(image.path, limits)
                             : processor.read_image(std::as_bytes(std::span(image.bytes)),
                                                    image.path.string(), limits));
      }
    }
    return processor.prepare(render_chat(messages, {}), std::move(images));
  }

  bool is_end(int32_t id) const {
    return std::ranges::find(generation_.eos_token_ids, id) != generation_.eos_token_ids.end();
  }

  void decode(Context& cx, const qwen3_vl::ModelInput& input, const Tensor& first,
              const Decoding& d, KvCache& cache, Completion& done) {
    Random random(d.request.sampling.seed);
    text::StreamDecoder stream(model_.processor().tokenizer());
    const auto emit = [&](const std::string& piece) {
      done.text += piece;
      if (d.on_text && !piece.empty()) d.on_text(piece);
    };
    // Rows of the head past the vocabulary have no text.
    const auto known = static_cast<size_t>(model_.processor().tokenizer().size());
    const auto next_of = [&](const Tensor& logits) {
      Tensor host = to_f32(logits);
      return runtime::sample(host.span<float>().first(known), input.ids, done.ids,
                             d.request.sampling, random);
    };
    int32_t next = next_of(first);
    done.ms_prefill = ms_since(d.prefill_start);
    const auto decode_start = Clock::now();
    done.finish = FinishReason::length;
    int64_t position = input.positions.next;
    while (true) {
      if (!d.request.ignore_end && is_end(next)) {
        done.finish = FinishReason::stop;
        break;
      }
      done.ids.push_back(next);
      emit(stream.push(next));
      if (static_cast<int64_t>(done.ids.size()) == d.limit) break;
      throw_if_stopped(d.stop);
      const Arena::Scope scope(cx.scratch);
      const qwen3_vl::NextToken token{next, position++, &cache};
      next = next_of(model_.logits(cx, model_.step(cx, {&token, 1})));
    }
    emit(stream.finish());
    done.ms_decode = ms_since(decode_start);
  }

  int64_t program_bytes_;  // what the process took before
  Backend& backend_;
  io::Checkpoint checkpoint_;
  qwen3_vl::Model model_;
  Arena scratch_;
  runtime::GenerationConfig generation_;
};

Engine::Engine(const std::filesystem::path& model, Backend& backend)
    : impl_(std::make_unique<Impl>(model, backend)) {}
Engine::~Engine() = default;
Engine::Engine(Engine&&) noexcept = default;
Engine& Engine::operator=(Engine&&) noexcept = default;

Sampling Engine::default_sampling() const { return impl_->default_sampling(); }
std::vector<int32_t> Engine::encode(const std::string& text) const { return impl_->encode(text); }
int64_t Engine::weight_bytes() const { return impl_->weight_bytes(); }
int64_t Engine::cache_bytes(int64_t tokens) const { return impl_->cache_bytes(tokens); }

FitPlan Engine::plan(const Request& request) const { return impl_->plan(request); }

Completion Engine::generate(const Request& request, const OnText& on_text,
                            const std::stop_token& stop) {
  return impl_->generate(request, on_text, stop);
}

}  // namespace squint
