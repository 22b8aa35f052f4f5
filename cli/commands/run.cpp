#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "command.h"
#include "squint/engine.h"
#include "squint/error.h"
#include "terminal.h"

namespace squint::cli {
namespace {

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
  bool json = false;
  DeviceOptions device;
};

Request request_of(const Options& options, const Engine& engine) {
  Request request;
  if (!options.system.empty()) request.turns.push_back({.role = "system", .text = options.system});
  Turn turn{.text = options.question};
  for (const std::string& path : options.images) turn.images.push_back({.path = path});
  request.turns.push_back(std::move(turn));
  request.max_tokens = options.max_tokens;
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
  const nlohmann::ordered_json json = {
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
      {"seed", s.seed},
      {"ms_images", c.ms_images},
      {"ms_prefill", c.ms_prefill},
      {"ms_decode", c.ms_decode}};
  fmt::print("{}\n", json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
}

void run(const Options& options, const Outcome& outcome) {
  const BackendPtr backend = options.device.open();
  Engine engine(options.model, *backend);
  const Request request = request_of(options, engine);
  const auto print = [](const std::string& piece) {
    std::fwrite(piece.data(), 1, piece.size(), stdout);
    std::fflush(stdout);
  };
  const Completion done =
      engine.generate(request, options.json ? Engine::OnText{} : print, outcome.stop);
  if (options.json) return print_json(done, request.sampling);
  fmt::print("\n");
  // Drawn after the first token, which the prefill gives: the end token counts, it took as long.
  const auto steps =
      static_cast<double>(done.ids.size()) - (done.finish == FinishReason::length ? 1 : 0);
  const double seconds = done.ms_decode / 1e3;
  fmt::print(stderr,
             "{} prompt tokens ({} of images), {} in the answer{}; weights {}, images {:.0f} ms, "
             "prefill {:.0f} ms{}\n",
             done.prompt_tokens, done.image_tokens, done.ids.size(),
             done.finish == FinishReason::length ? " (cut off; see --max-tokens)" : "",
             bytes_text(engine.weight_bytes()), done.ms_images, done.ms_prefill,
             steps > 0 && seconds > 0 ? fmt::format(", {:.0f} tokens/s", steps / seconds) : "");
}

}  // namespace

void add_run(CLI::App& app, Outcome& outcome) {
  const auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("run", "Answer a question about images");
  command->footer(
      "Example:\n  squint run models/reader --image a.png \"What is written in the "
      "image?\"\n\nSampling follows the model's generation_config.json; --temperature 0 "
      "is greedy.\nThe same seed gives the same answer.");
  command->add_option("MODEL", options->model, "checkpoint folder")
      ->required()
      ->check(refuse_empty);
  command->add_option("QUESTION", options->question, "what to ask")->required();
  command->add_option("--image", options->images, "an image file; may be given several times")
      ->allow_extra_args(false)
      ->check(refuse_empty);
  command->add_option("--system", options->system, "a system message");
  command->add_option("--max-tokens", options->max_tokens, "of the answer")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command->add_option("--temperature", options->temperature, "0: greedy");
  command->add_option("--top-p", options->top_p, "draw from the likeliest tokens of this share");
  command->add_option("--top-k", options->top_k, "draw from the K likeliest; 0: all");
  command->add_option("--repetition-penalty", options->repetition_penalty, "1: none");
  command->add_option("--presence-penalty", options->presence_penalty, "0: none");
  command->add_option("--seed", options->seed, "of the draw")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command->add_flag("--json", options->json, "for machines: one object when done");
  options->device.add_to(*command);
  command->callback([options, &outcome] { run(*options, outcome); });
}

}  // namespace squint::cli
