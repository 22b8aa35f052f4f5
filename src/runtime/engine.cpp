#include "squint/engine.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <nlohmann/json.hpp>

#include "base/process_memory.h"
#include "models/qwen3_vl/chat_template.h"
#include "models/qwen3_vl/model.h"
#include "models/qwen3_vl/stored_forms.h"
#include "ops/copies.h"
#include "runtime/generation_config.h"
#include "runtime/memory_plan.h"
#include "runtime/sampler.h"
#include "runtime/sequence.h"
#include "squint/error.h"

namespace squint {
namespace {

using Clock = std::chrono::steady_clock;
using runtime::Sequence;

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

  std::vector<Completion> generate(std::span<const Request> requests, const OnText& on_text,
                                   const std::stop_token& stop) {
    for (const Request& request : requests) check(request);
    Context cx{
        .backend = backend_, .scratch = scratch_, .between = [&stop] { throw_if_stopped(stop); }};
    const Arena::Scope scope(scratch_);
    std::vector<Sequence> all;
    all.reserve(requests.size());
    for (const Request& request : requests) {
      const auto start = Clock::now();
      qwen3_vl::ModelInput input = read(request);
      throw_if_stopped(stop);
      const int64_t limit = limit_of(request, input);
      Sequence& s = all.emplace_back(request, std::move(input), limit,
                                     model_.processor().tokenizer(), generation_.eos_token_ids);
      encode_images(cx, s, requests.size() == 1);
      throw_if_stopped(stop);
      if (!s.features.empty()) s.done.ms_images = ms_since(start);
    }
    for (std::span<Sequence> left = all; !left.empty();) {
      const std::span<Sequence> together = first_prompts(left);
      prefill(cx, together, on_text);
      throw_if_stopped(stop);
      left = left.subspan(together.size());
    }
    decode(cx, all, on_text, stop);
    std::vector<Completion> done;
    for (Sequence& s : all) done.push_back(std::move(s.done));
    return done;
  }

 private:
  // An image whose features are at hand.
  struct KnownImage {
    qwen3_vl::Patches pixels;
    qwen3_vl::ImageFeatures features;

    bool shows(const qwen3_vl::Patches& other) const {
      const Tensor& a = pixels.values;
      const Tensor& b = other.values;
      return pixels.grid == other.grid && a.shape() == b.shape() &&
             std::memcmp(a.raw(), b.raw(), static_cast<size_t>(a.bytes())) == 0;
    }
  };

  // In a conversation every turn shows the images of those before. What this one does not show is
  // forgotten before anything else is computed.
  void encode_images(Context& cx, Sequence& s, bool keep) {
    const std::vector<qwen3_vl::Patches>& images = s.input().images;
    s.features.resize(images.size());
    std::vector<bool> known(images.size());
    for (size_t i = 0; i < images.size(); ++i) {
      const auto same = std::ranges::find_if(
          known_images_, [&](const KnownImage& k) { return k.shows(images[i]); });
      if (same == known_images_.end()) continue;
      s.features[i] = same->features;
      known[i] = true;
    }
    known_images_.clear();
    for (size_t i = 0; i < images.size(); ++i) {
      if (!known[i]) s.features[i] = model_.encode_image(cx, images[i]);
      if (keep) known_images_.push_back({images[i], s.features[i]});
    }
    s.done.known_images = std::ranges::count(known, true);
  }

  // Tokens of an answer, as the model's positions allow.
  int64_t limit_of(const Request& request, const qwen3_vl::ModelInput& input) const {
    const int64_t room = model_.config().text.max_positions - input.tokens();
    return std::min(request.max_tokens, std::max<int64_t>(room, 1));
  }

  static void check(const Request& request) {
    runtime::check_sampling(request.sampling);
    if (request.max_tokens < 1) {
      throw Error(ErrorCode::usage,
                  fmt::format("max_tokens: expected 1 or more, found {}", request.max_tokens));
    }
  }

  qwen3_vl::ModelInput read(const Request& request) const {
    if (!request.ids.empty()) {
      if (request.turns.empty()) return model_.processor().prepare_ids(request.ids);
      throw Error(ErrorCode::usage, "request: expected turns or ids, found both");
    }
    std::vector<qwen3_vl::Message> messages;
    std::vector<qwen3_vl::Patches> images;
    const qwen3_vl::Processor& processor = model_.processor();
    const HostWork host(backend_);
    const qwen3_vl::ImageProcessorConfig limits =
        with_areas(processor.image_config(), request.min_pixels, request.max_pixels);
    for (const Turn& turn : request.turns) {
      check_turn(turn);
      messages.push_back(message_of(turn));
      for (const ImageInput& image : turn.images) {
        images.push_back(image.bytes.empty()
                             ? processor.read_image(image.path, limits, host)
                             : processor.read_image(std::as_bytes(std::span(image.bytes)),
                                                    image.path.string(), limits, host));
      }
    }
    return processor.prepare(render_chat(messages, {}), std::move(images));
  }

  // As many as one pass may hold inner values of.
  static std::span<Sequence> first_prompts(std::span<Sequence> all) {
    constexpr int64_t kTokens = 2048;
    int64_t tokens = all.front().input().tokens();
    size_t count = 1;
    while (count < all.size() && (tokens += all[count].input().tokens()) <= kTokens) ++count;
    return all.first(count);
  }

  void prefill(Context& cx, std::span<Sequence> sequences, const OnText& on_text) {
    const auto start = Clock::now();
    std::vector<Sequence*> all;
    std::vector<qwen3_vl::Prompt> prompts;
    for (Sequence& s : sequences) {
      s.cache = model_.make_cache(cx, s.tokens());
      prompts.push_back({&s.input(), s.features, &s.cache});
      all.push_back(&s);
    }
    const Arena::Scope scope(cx.scratch);
    const Tensor hidden = model_.prefill(cx, prompts);
    const Tensor last = cx.scratch.tensor({static_cast<int64_t>(sequences.size()), hidden.dim(1)});
    int64_t end = 0;
    for (size_t i = 0; i < sequences.size(); ++i) {
      end += sequences[i].input().tokens();
      backend_.copy(hidden.rows(end - 1, 1), last.rows(static_cast<int64_t>(i), 1));
    }
    take(cx, model_.logits(cx, last), all, on_text);
    const double share = ms_since(start) / static_cast<double>(sequences.size());
    for (Sequence& s : sequences) s.done.ms_prefill = share;
  }

  void decode(Context& cx, std::span<Sequence> sequences, const OnText& on_text,
              const std::stop_token& stop) {
    std::vector<Sequence*> active;
    for (Sequence& s : sequences) active.push_back(&s);
    const auto drop_ended = [&] {
      std::erase_if(active, [](Sequence* s) { return s->has_ended(); });
    };
    for (drop_ended(); !active.empty(); drop_ended()) {
      throw_if_stopped(stop);
      const auto start = Clock::now();
      const Arena::Scope scope(cx.scratch);
      // With more than one under way there is no room for guesses.
      const std::vector<int32_t> guess =
          active.size() > 1 ? std::vector<int32_t>()
                            : active.front()->guess(backend_.rows_for_the_price_of_one() - 1);
      if (!guess.empty()) {
        check_guess(cx, *active.front(), guess, on_text);
      } else {
        std::vector<qwen3_vl::NextToken> tokens;
        for (Sequence* s : active) tokens.push_back(s->next());
        take(cx, model_.logits(cx, model_.step(cx, tokens)), active, on_text);
      }
      const double share = ms_since(start) / static_cast<double>(active.size());
      for (Sequence* s : active) s->done.ms_decode += share;
    }
  }

  // One step for the next token and those that may follow it: of these it keeps what the model says
  // itself, and the token after.
  void check_guess(Context& cx, Sequence& s, const std::vector<int32_t>& guess,
                   const OnText& on_text) const {
    const qwen3_vl::NextToken first = s.next();
    const int64_t before = s.cache.layers.front().length;
    std::vector<int32_t> ids{first.id};
    ids.insert(ids.end(), guess.begin(), guess.end());
    const Tensor said = said_in(cx, model_.logits(cx, model_.extend(cx, ids, first)));
    size_t right = 0;
    while (true) {
      const int32_t token = said.span<int32_t>()[right];
      s.take(token, on_text);
      if (s.has_ended() || right == guess.size() || token != guess[right]) break;
      s.next();  // its place in the cache is taken
      ++right;
    }
    const auto kept = static_cast<int64_t>(right);
    for (KvLayer& layer : s.cache.layers) layer.length = before + 1 + kept;
    s.judge(std::ssize(guess), kept);
  }

  // The token with the largest logit of each row, on the host. Rows of the head past the vocabulary
  // have no text.
  Tensor said_in(Context& cx, const Tensor& logits) const {
    const Tensor ids = cx.scratch.tensor({logits.dim(0)}, DType::i32);
    ops::argmax(cx, logits, model_.processor().tokenizer().size(), ids);
    return on_host(cx, ids);
  }

  // A row of logits for each.
  void take(Context& cx, const Tensor& logits, std::span<Sequence* const> sequences,
            const OnText& on_text) const {
    if (std::ranges::all_of(sequences, &Sequence::is_greedy)) {  // spares the logits a way
      const Tensor host = said_in(cx, logits);
      for (size_t i = 0; i < sequences.size(); ++i) {
        sequences[i]->take(host.span<int32_t>()[i], on_text);
      }
      return;
    }
    const auto known = static_cast<size_t>(model_.processor().tokenizer().size());
    const Tensor host = copy_to_host(cx, logits);  // penalties are written into it
    for (size_t i = 0; i < sequences.size(); ++i) {
      const Tensor row = host.rows(static_cast<int64_t>(i), 1);
      sequences[i]->take(row.span<float>().first(known), on_text);
    }
  }

  int64_t program_bytes_;  // what the process took before
  Backend& backend_;
  io::Checkpoint checkpoint_;
  qwen3_vl::Model model_;
  Arena scratch_;
  runtime::GenerationConfig generation_;
  std::vector<KnownImage> known_images_;  // of the last request, where it came alone
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
  return std::move(impl_->generate({&request, 1}, on_text, stop).front());
}

std::vector<Completion> Engine::generate_together(std::span<const Request> requests,
                                                  const std::stop_token& stop) {
  return impl_->generate(requests, {}, stop);
}

}  // namespace squint
