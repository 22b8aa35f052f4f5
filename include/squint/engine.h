// engine.h: a loaded model that answers questions about pictures.
//
//     auto backend = squint::open_backend();
//     squint::Engine engine("models/reader", *backend);
//     squint::Request request;
//     request.turns = {{.text = "What is written?", .images = {{.path = "a.jpg"}}}};
//     squint::Completion answer = engine.generate(request);
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

#include "squint/backend.h"
#include "squint/fit.h"

namespace squint {

// A file, or, where `bytes` is not empty, an encoded image in memory that `path` only names.
struct ImageInput {
  std::filesystem::path path;
  std::string bytes;
};

struct Turn {
  std::string role = "user";  // "system", "user" or "assistant"
  std::string text;
  std::vector<ImageInput> images;  // before the text
};

// Applied in this order (spec qwen3-vl.md §6.2). temperature 0 is greedy: the rest of the draw is
// then unused, the penalties are not.
struct Sampling {
  double repetition_penalty = 1;  // over prompt and answer
  double presence_penalty = 0;    // over the answer
  double temperature = 1;
  int64_t top_k = 0;  // 0: all
  double top_p = 1;
  uint64_t seed = 0;
};

struct Request {
  std::vector<Turn> turns;
  int64_t max_tokens = 1024;
  Sampling sampling;
  // Areas that images are resized to, in pixels; the model's own limits where not given.
  std::optional<int64_t> min_pixels;
  std::optional<int64_t> max_pixels;
  // For measurements. Instead of turns, the prompt as ids, none of an image:
  std::vector<int32_t> ids;
  // and a fixed length: end tokens become part of the answer, which goes on to max_tokens.
  bool ignore_end = false;
  // Whether tokens may be guessed from earlier text and checked together, where that is cheap and
  // the answer is greedy: it is the same, only sooner.
  bool guesses = true;
};

enum class FinishReason : uint8_t {
  stop,    // the model ended its answer
  length,  // max_tokens, or the model's positions, were used up
};

struct Completion {
  std::string text;
  std::vector<int32_t> ids;  // without the end token
  FinishReason finish = FinishReason::stop;
  int64_t prompt_tokens = 0;  // of them image_tokens
  int64_t image_tokens = 0;
  int64_t known_images = 0;    // that the request before had too: their features are still there
  double ms_images = 0;        // decoding, resizing, vision tower
  double ms_prefill = 0;       // prompt to first token, images not included
  double ms_decode = 0;        // all further tokens
  int64_t guessed_tokens = 0;  // see Request::guesses; of them right_guesses saved a step each
  int64_t right_guesses = 0;
};

class Engine {
 public:
  // Loads and checks a checkpoint folder. The backend must outlive the engine.
  // Throws Error(io), Error(bad_input) or Error(unsupported).
  Engine(const std::filesystem::path& model, Backend& backend);
  ~Engine();
  Engine(Engine&&) noexcept;
  Engine& operator=(Engine&&) noexcept;

  // What generation_config.json asks for; greedy where there is no such file.
  Sampling default_sampling() const;

  using OnText = std::function<void(const std::string& piece)>;
  // Calls on_text with every piece of text that is complete. One call at a time.
  // Throws Error(interrupted) when asked to stop, Error(bad_input) for an unreadable image or a
  // prompt that is too long, Error(usage) for a request that makes no sense.
  Completion generate(const Request& request, const OnText& on_text = {},
                      const std::stop_token& stop = {});

  // Several requests at once: an answer for each; on the CPU the same bits as alone. Weights are
  // read once for all of them; times are each one's share. Throws what generate throws, for any of
  // them.
  std::vector<Completion> generate_together(std::span<const Request> requests,
                                            const std::stop_token& stop = {});

  // Token ids of a text as it is, without a chat around it.
  std::vector<int32_t> encode(const std::string& text) const;

  // What answering takes of memory, all in all; its images are read for it. Throws as generate
  // does.
  FitPlan plan(const Request& request) const;

  // Bytes of the checkpoint's tensors, and what a prompt adds.
  int64_t weight_bytes() const;
  int64_t cache_bytes(int64_t tokens) const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace squint
