#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "answer_stats.h"
#include "chat.h"
#include "command.h"
#include "squint/engine.h"
#include "squint/error.h"
#include "standard_input.h"

namespace squint::cli {
namespace {

constexpr int64_t kMaxImageBytes = int64_t{1} << 30;
constexpr int64_t kMaxQuestionBytes = int64_t{16} << 20;

struct Options {
  std::string model;
  std::vector<std::string> images;
  std::string question;
  std::string system;
  int64_t max_tokens = 1024;
  std::optional<double> temperature;
  std::optional<double> top_p;
  std::optional<int64_t> top_k;
  std::optional<double> repetition_penalty;
  std::optional<double> presence_penalty;
  uint64_t seed = 0;
  std::optional<int64_t> min_pixels;
  std::optional<int64_t> max_pixels;
  bool stats = false;
  bool json = false;
  DeviceOptions device{.backend = {}, .fast_answers = true};
};

bool asks_by_pipe(const std::string& image) { return image == "-"; }

// Where question and images come from; refused before a model is loaded.
void check_sources(const Options& options) {
  const auto piped = std::ranges::count_if(options.images, asks_by_pipe);
  const auto refuse = [](const char* why) { throw Error(ErrorCode::usage, why); };
  if (piped > 1) refuse("--image -: standard input holds one image, found it twice");
  if (piped == 1 && options.question.empty()) {
    refuse("--image -: standard input is the image, so the QUESTION must be an argument");
  }
  if (piped == 1 && input_is_terminal()) {
    refuse("--image -: expected an image on standard input, which is a terminal");
  }
  if (options.question.empty() && input_is_terminal() && (!is_conversation() || options.json)) {
    refuse("QUESTION is required, where standard output is no terminal or with --json");
  }
}

std::vector<ImageInput> images_of(const Options& options, const std::stop_token& stop) {
  std::vector<ImageInput> images;
  for (const std::string& path : options.images) {
    if (!asks_by_pipe(path)) {
      images.push_back({.path = path});
      continue;
    }
    images.push_back(
        {.path = "standard input", .bytes = read_input("an image", kMaxImageBytes, stop)});
    if (images.back().bytes.empty()) {
      throw Error(ErrorCode::bad_input,
                  "standard input: expected an image, found nothing; did the program before the "
                  "pipe fail?");
    }
  }
  return images;
}

std::string question_of(const Options& options, const std::stop_token& stop) {
  if (!options.question.empty()) return options.question;
  std::string text = read_input("a question", kMaxQuestionBytes, stop);
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.pop_back();
  if (text.empty()) {
    throw Error(ErrorCode::bad_input,
                "standard input: expected a question, found nothing; give it as an argument, "
                "through a pipe, or run on a terminal to chat");
  }
  return text;
}

// Everything of a request but the question.
Request start_of(const Options& options, const Engine& engine) {
  Request request;
  if (!options.system.empty()) request.turns.push_back({.role = "system", .text = options.system});
  request.max_tokens = options.max_tokens;
  request.min_pixels = options.min_pixels;
  request.max_pixels = options.max_pixels;
  Sampling& s = request.sampling = engine.default_sampling();
  s.temperature = options.temperature.value_or(s.temperature);
  s.top_p = options.top_p.value_or(s.top_p);
  s.top_k = options.top_k.value_or(s.top_k);
  s.repetition_penalty = options.repetition_penalty.value_or(s.repetition_penalty);
  s.presence_penalty = options.presence_penalty.value_or(s.presence_penalty);
  s.seed = options.seed;
  return request;
}

void print_json(const Completion& c, const Sampling& s) {
  nlohmann::ordered_json json = {
      {"text", c.text},
      {"finish_reason", c.finish == FinishReason::stop ? "stop" : "length"},
      {"prompt_tokens", c.prompt_tokens},
      {"image_tokens", c.image_tokens},
      {"output_tokens", c.ids.size()},
      {"ids", c.ids},
      {"temperature", s.temperature},
      {"top_p", s.top_p},
      {"top_k", s.top_k},
      {"repetition_penalty", s.repetition_penalty},
      {"presence_penalty", s.presence_penalty},
      {"seed", s.seed}};
  add_stats(json, c);
  fmt::print("{}\n", json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
}

void answer(const Options& options, Engine& engine, const Request& request,
            const std::stop_token& stop) {
  if (options.stats) fmt::print(stderr, "{}\n", engine.plan(request).to_text());
  bool open_line = false;
  const auto print = [&](const std::string& piece) {
    open_line = true;
    std::fwrite(piece.data(), 1, piece.size(), stdout);
    std::fflush(stdout);
  };
  Completion done;
  try {
    done = engine.generate(request, options.json ? Engine::OnText{} : print, stop);
  } catch (const Error&) {
    if (open_line) fmt::print("\n");
    throw;
  }
  if (options.json) return print_json(done, request.sampling);
  fmt::print("\n");
  const int64_t weights = engine.weight_bytes();
  fmt::print(stderr, "{}", options.stats ? stats_text(done, weights) : summary(done, weights));
}

void run(const Options& options, Outcome& outcome) {
  check_sources(options);
  const bool talk = options.question.empty() && is_conversation();
  std::vector<ImageInput> images = images_of(options, outcome.stop);
  const std::string question = talk ? "" : question_of(options, outcome.stop);
  const BackendPtr backend = options.device.open();
  Engine engine(options.model, *backend);
  Request request = start_of(options, engine);
  if (talk) {
    return chat(engine,
                {.start = std::move(request), .images = std::move(images), .stats = options.stats},
                outcome);
  }
  request.turns.push_back({.text = question, .images = std::move(images)});
  answer(options, engine, request, outcome.stop);
}

void add_sampling(CLI::App& command, Options& options) {
  command.add_option("--temperature", options.temperature, "0: greedy");
  command.add_option("--top-p", options.top_p, "draw from the likeliest tokens of this share");
  command.add_option("--top-k", options.top_k, "draw from the K likeliest; 0: all");
  command.add_option("--repetition-penalty", options.repetition_penalty, "1: none");
  command.add_option("--presence-penalty", options.presence_penalty, "0: none");
  command.add_option("--seed", options.seed, "of the draw")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
}

}  // namespace

void add_run(CLI::App& app, Outcome& outcome) {
  const auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("run", "Answer a question about images, or chat");
  command->footer(
      "Examples:\n  squint run models/reader --image a.png \"What is written in the "
      "image?\"\n  squint run models/reader                  a chat; /help lists its commands\n"
      "  echo \"Who are you?\" | squint run models/reader\n"
      "  curl -s URL | squint run models/reader --image - \"What is this?\"\n\n"
      "Sampling follows the model's generation_config.json; --temperature 0 is greedy.\n"
      "The same seed gives the same answer.");
  command->add_option("MODEL", options->model, "checkpoint folder")
      ->required()
      ->check(refuse_empty);
  command->add_option("QUESTION", options->question,
                      "what to ask; without it, what a pipe brings, or on a terminal a chat");
  command
      ->add_option("--image", options->images,
                   "an image file, or - for standard input; may be given several times")
      ->allow_extra_args(false)
      ->check(refuse_empty);
  command->add_option("--min-pixels", options->min_pixels,
                      "smaller images are enlarged to that many; else the model's own limit");
  command->add_option("--max-pixels", options->max_pixels,
                      "larger images are shrunk to that many: faster, less is legible");
  command->add_option("--system", options->system, "a system message");
  command->add_option("--max-tokens", options->max_tokens, "of the answer")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  add_sampling(*command, *options);
  command->add_flag("--stats", options->stats, "tokens, times, rates and memory on standard error");
  command->add_flag("--json", options->json, "for machines: one object when done");
  options->device.add_to(*command);
  command->callback([options, &outcome] { run(*options, outcome); });
}

}  // namespace squint::cli
