#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>
#include <chrono>
#include <ctime>
#include <nlohmann/json.hpp>
#include <set>

#include "eval/runner.h"
#include "io/fingerprint.h"
#include "squint/engine.h"
#include "squint/error.h"
#include "squint/ocrbench.h"
#include "squint/version.h"

namespace squint {
namespace {

std::string now_utc() {
  const std::time_t now = std::time(nullptr);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", std::gmtime(&now));
  return text;
}

// Of the files, weights aside, that decide what the model is shown and when its answers end.
std::string processing_fingerprint(const io::Checkpoint& checkpoint) {
  std::string facts;
  for (const char* name : {"preprocessor_config.json", "processor_config.json", "tokenizer.json",
                           "generation_config.json"}) {
    const std::optional<std::string> text = checkpoint.side_file(name);
    facts += fmt::format("{} {}\n", name, text ? io::sha256(*text) : "absent");
  }
  return io::sha256(facts);
}

std::string prompt_template(const EvaluateOptions& options) {
  return (options.strip_questions ? "{question, stripped}" : "{question}") +
         (options.prompt_suffix.empty() ? "" : "\n" + options.prompt_suffix);
}

Json pixels_of(const EvaluateOptions& options) {
  if (!options.min_pixels && !options.max_pixels) return "model";
  Json pixels = Json::object();
  if (options.min_pixels) pixels["min"] = *options.min_pixels;
  if (options.max_pixels) pixels["max"] = *options.max_pixels;
  return pixels;
}

Json decoding_of(const Sampling& s) {
  if (s.temperature == 0 && s.repetition_penalty == 1 && s.presence_penalty == 0) return "greedy";
  return {{"temperature", s.temperature},
          {"top_k", s.top_k},
          {"top_p", s.top_p},
          {"repetition_penalty", s.repetition_penalty},
          {"presence_penalty", s.presence_penalty},
          {"seed", s.seed}};
}

std::string lower(std::string text) {
  std::ranges::transform(text, text.begin(), [](unsigned char c) { return std::tolower(c); });
  return text;
}

// Those of the types asked for, at most options.limit.
std::vector<eval::Sample> chosen(std::vector<eval::Sample> samples,
                                 const EvaluateOptions& options) {
  std::set<std::string> known;
  for (const eval::Sample& sample : samples) known.insert(sample.type);
  std::set<std::string> wanted;
  for (const std::string& type : options.types) {
    const auto is_it = [&](const std::string& name) { return lower(name) == lower(type); };
    const auto found = std::ranges::find_if(known, is_it);
    if (found == known.end()) {
      throw Error(ErrorCode::usage, fmt::format("type \"{}\": {} has \"{}\"", type,
                                                options.data.string(), fmt::join(known, "\", \"")));
    }
    wanted.insert(*found);
  }
  if (!wanted.empty()) {
    std::erase_if(samples, [&](const eval::Sample& s) { return !wanted.contains(s.type); });
  }
  if (options.limit > 0 && options.limit < static_cast<int64_t>(samples.size())) {
    samples.resize(static_cast<size_t>(options.limit));
  }
  return samples;
}

Request request_of(const eval::Sample& sample, const EvaluateOptions& options) {
  const eval::SampleImage& image = sample.image;
  std::string question = sample.question;
  if (options.strip_questions) {
    constexpr const char* kSpace = " \t\n\r\f\v";
    question.erase(0, question.find_first_not_of(kSpace));
    question.erase(question.find_last_not_of(kSpace) + 1);
  }
  if (!options.prompt_suffix.empty()) question += "\n" + options.prompt_suffix;
  Request request;
  request.turns = {{.text = question,
                    .images = {{.path = image.path, .bytes = image.bytes ? image.bytes() : ""}}}};
  request.max_tokens = options.max_tokens;
  request.sampling = options.sampling;
  request.sampling.seed += static_cast<uint64_t>(sample.index);
  request.min_pixels = options.min_pixels;
  request.max_pixels = options.max_pixels;
  return request;
}

// What influences a score is under "settings" or names the model; "about" is never compared.
Json header_of(const EvaluateOptions& options, const Engine& engine, Backend& backend,
               int64_t rows_at_once) {
  const io::Checkpoint checkpoint = io::Checkpoint::open(options.model);
  std::error_code unknown;
  const std::filesystem::path folder = std::filesystem::weakly_canonical(options.model, unknown);
  return {{"settings",
           {{"benchmark", "ocrbench"},
            {"prompt", prompt_template(options)},
            {"image_source", eval::name(eval::find_data(options.data).container)},
            {"pixels", pixels_of(options)},
            {"alpha", "drop"},
            {"apply_orientation", true},
            {"decoding", decoding_of(options.sampling)},
            {"max_tokens", options.max_tokens}}},
          {"model_name", (unknown ? options.model : folder).filename().string()},
          {"model_bytes", engine.weight_bytes()},
          {"model_fingerprint", io::fingerprint(checkpoint)},
          {"processing_fingerprint", processing_fingerprint(checkpoint)},
          {"precision", arithmetic_of(backend) == Arithmetic::exact ? "exact" : "fast"},
          {"about",
           {{"squint", kVersion},
            {"started", now_utc()},
            {"kernels", kernels_of(backend)},
            {"threads", threads_of(backend)},
            {"rows_at_once", rows_at_once}}}};
}

int64_t rows_for(const Engine& engine, const EvaluateOptions& options) {
  constexpr int64_t kMost = 8;
  constexpr int64_t kCacheBytes = 512 << 20;
  constexpr int64_t kPrompt = 1024;  // tokens; nearly all of OCRBench's have fewer
  const int64_t row = engine.cache_bytes(kPrompt + options.max_tokens);
  return std::clamp<int64_t>(kCacheBytes / std::max<int64_t>(row, 1), 1, kMost);
}

eval::Answer answer_of(const Completion& completion) {
  return {.text = completion.text,
          .prompt_tokens = completion.prompt_tokens,
          .image_tokens = completion.image_tokens,
          .output_tokens = static_cast<int64_t>(completion.ids.size()),
          .finish_reason = completion.finish == FinishReason::stop ? "stop" : "length",
          .ms_prefill = completion.ms_images + completion.ms_prefill,
          .ms_decode = completion.ms_decode};
}

}  // namespace

void apply_protocol(EvaluationProtocol protocol, EvaluateOptions& options) {
  using enum EvaluationProtocol;
  constexpr int64_t kVlmEvalPixels = 102'400;
  options.strip_questions = protocol == lmms;
  options.prompt_suffix.clear();
  options.min_pixels.reset();
  options.max_pixels.reset();
  if (protocol == greedy || protocol == vlmeval) options.min_pixels = kVlmEvalPixels;
  options.max_tokens = protocol == official  ? 100
                       : protocol == lmms    ? 128
                       : protocol == vlmeval ? 2048
                                             : 256;
  options.sampling = {.temperature = 0};
  if (protocol == vlmeval) {
    options.sampling = {.presence_penalty = 1.5, .temperature = 0.7, .top_k = 20, .top_p = 0.8};
  }
}

EvaluateSummary evaluate_ocrbench(const EvaluateOptions& options, Backend& backend) {
  if (options.rows_at_once < 0) {
    throw Error(ErrorCode::usage,
                fmt::format("rows at once: expected 0 or more, found {}", options.rows_at_once));
  }
  const std::vector<eval::Sample> samples = chosen(eval::load_ocrbench(options.data), options);
  Engine engine(options.model, backend);
  const int64_t rows_at_once =
      options.rows_at_once > 0 ? options.rows_at_once : rows_for(engine, options);
  const Json header = header_of(options, engine, backend, rows_at_once);
  const auto answer = [&](std::span<const eval::Sample* const> asked) {
    std::vector<Request> requests;
    for (const eval::Sample* sample : asked) requests.push_back(request_of(*sample, options));
    std::vector<eval::Answer> answers;
    for (const Completion& done : engine.generate_together(requests, options.stop)) {
      answers.push_back(answer_of(done));
    }
    return answers;
  };
  return eval::run_ocrbench({.samples = samples,
                             .header = header,
                             .results = options.results,
                             .rows_at_once = rows_at_once},
                            answer, options.on_progress, options.stop);
}

}  // namespace squint
