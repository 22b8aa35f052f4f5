#include "squint/engine.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>

#include "models/qwen3_vl/chat_template.h"
#include "models/qwen3_vl/model.h"
#include "runtime/generation_config.h"
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
      : backend_(backend),
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
    const int64_t room = model_.config().text.max_positions - input.tokens();
    const int64_t limit = std::min(request.max_tokens, std::max<int64_t>(room, 1));
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
  struct Decoding {
    const Request& request;
    const OnText& on_text;
    const std::stop_token& stop;
    int64_t limit;
    Clock::time_point prefill_start;
  };

  qwen3_vl::ModelInput read(const Request& request) const {
    std::vector<qwen3_vl::Message> messages;
    std::vector<qwen3_vl::Patches> images;
    for (const Turn& turn : request.turns) {
      check_turn(turn);
      messages.push_back(message_of(turn));
      for (const ImageInput& image : turn.images) {
        images.push_back(image.bytes.empty()
                             ? model_.processor().read_image(image.path)
                             : model_.processor().read_image(std::as_bytes(std::span(image.bytes)),
                                                             image.path.string()));
      }
    }
    return model_.processor().prepare(render_chat(messages, {}), std::move(images));
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
      if (std::ranges::find(generation_.eos_token_ids, next) != generation_.eos_token_ids.end()) {
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
int64_t Engine::weight_bytes() const { return impl_->weight_bytes(); }
int64_t Engine::cache_bytes(int64_t tokens) const { return impl_->cache_bytes(tokens); }

Completion Engine::generate(const Request& request, const OnText& on_text,
                            const std::stop_token& stop) {
  return impl_->generate(request, on_text, stop);
}

}  // namespace squint
