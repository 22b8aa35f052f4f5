#include <fmt/format.h>

#include <chrono>
#include <ctime>
#include <nlohmann/json.hpp>

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

// What influences a score is under "settings" or names the model; "about" is never compared.
Json header_of(const EvaluateOptions& options, const Engine& engine, Backend& backend) {
  const io::Checkpoint checkpoint = io::Checkpoint::open(options.model);
  std::error_code unknown;
  const std::filesystem::path folder = std::filesystem::weakly_canonical(options.model, unknown);
  return {{"settings",
           {{"benchmark", "ocrbench"},
            {"prompt", "{question}"},
            {"image_source", eval::name(eval::find_data(options.data).container)},
            {"pixels", "model"},
            {"alpha", "drop"},
            {"apply_orientation", true},
            {"decoding", "greedy"},
            {"max_tokens", options.max_tokens}}},
          {"model_name", (unknown ? options.model : folder).filename().string()},
          {"model_bytes", engine.weight_bytes()},
          {"model_fingerprint", io::fingerprint(checkpoint)},
          {"processing_fingerprint", processing_fingerprint(checkpoint)},
          {"precision", "exact"},
          {"about",
           {{"squint", kVersion},
            {"started", now_utc()},
            {"kernels", kernels_of(backend)},
            {"threads", threads_of(backend)}}}};
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

EvaluateSummary evaluate_ocrbench(const EvaluateOptions& options, Backend& backend) {
  std::vector<eval::Sample> samples = eval::load_ocrbench(options.data);
  if (options.limit > 0 && options.limit < static_cast<int64_t>(samples.size())) {
    samples.resize(static_cast<size_t>(options.limit));
  }
  Engine engine(options.model, backend);
  const Json header = header_of(options, engine, backend);
  const auto answer = [&](const eval::Sample& sample) {
    Request request;
    const eval::SampleImage& image = sample.image;
    request.turns = {{.text = sample.question,
                      .images = {{.path = image.path, .bytes = image.bytes ? image.bytes() : ""}}}};
    request.max_tokens = options.max_tokens;
    request.sampling = {.temperature = 0};
    return answer_of(engine.generate(request, {}, options.stop));
  };
  return eval::run_ocrbench({.samples = samples, .header = header, .results = options.results},
                            answer, options.on_progress, options.stop);
}

}  // namespace squint
