#include "bench/measures.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>
#include <set>

#include "base/process_memory.h"
#include "bench/test_image.h"
#include "io/checkpoint.h"
#include "models/qwen3_vl/footprint.h"
#include "models/qwen3_vl/image_processor.h"
#include "models/qwen3_vl/stored_forms.h"
#include "ops/backend.h"
#include "squint/error.h"

namespace squint::bench {
namespace {

using qwen3_vl::Component;

constexpr const char* kQuestion = "What is written in this image?";
// Repeated until a prompt is long enough: text, so that the embedding's rows differ as they do.
constexpr const char* kText =
    "The first printed page that the town kept is a list of prices: bread, candles, lamp oil, a "
    "day of work. Somebody corrected two of them by hand, and dated the correction. ";

bool contains(const std::vector<int64_t>& list, int64_t value) {
  return std::ranges::find(list, value) != list.end();
}

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Greedy, and as long as it says.
Request request_of(int64_t tokens) {
  Request request;
  request.max_tokens = tokens;
  request.sampling.temperature = 0;
  request.ignore_end = true;
  request.guesses = false;  // every token is to take a step
  return request;
}

std::vector<int32_t> prompt_of(const Engine& engine, int64_t tokens) {
  const std::vector<int32_t> text = engine.encode(kText);
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < tokens; ++i) {
    ids.push_back(text[static_cast<size_t>(i) % text.size()]);
  }
  return ids;
}

void ask_about_image(Engine& engine, const BenchOptions& options, EnergyMeter& energy,
                     Round& round) {
  Request request = request_of(options.generate);
  request.turns = {{.text = kQuestion,
                    .images = {{.path = "test image",
                                .bytes = test_image(options.image_width, options.image_height)}}}};
  energy.start();
  round.answer = engine.generate(request, {}, options.stop);
  round.joules = energy.joules().value_or(-1);
  round.ids["the image"] = round.answer.ids;
}

void measure_prompt(Engine& engine, const BenchOptions& options, int64_t prompt, Round& round) {
  const bool decodes = contains(options.depth, prompt);
  // A depth of 0 still needs a token to begin with.
  Request request = request_of(decodes ? options.generate : 1);
  request.ids = prompt_of(engine, std::max<int64_t>(prompt, 1));
  const Completion done = engine.generate(request, {}, options.stop);
  if (contains(options.prefill, prompt)) round.prefill_ms[prompt] = done.ms_prefill;
  if (decodes) {
    // The first token comes with the prompt.
    round.decode_ms[prompt] = done.ms_decode / static_cast<double>(done.ids.size() - 1);
  }
  round.ids[fmt::format("a prompt of {} tokens", prompt)] = done.ids;
}

}  // namespace

ModelFacts facts_of(const std::filesystem::path& model, const BenchOptions& options,
                    const Backend& backend) {
  const io::Checkpoint checkpoint = io::Checkpoint::open(model);
  const std::string where = (model / io::kConfigFileName).string();
  const Json json = checkpoint.config();
  const qwen3_vl::Config config = qwen3_vl::parse_config(json, where);
  ModelFacts facts{.max_tokens = config.text.max_positions};
  for (const qwen3_vl::LoadStep& step :
       load_steps(config, backend, qwen3_vl::stored_forms(json, where))) {
    if (!step.shared) facts.parameters += step.parameters;
    if (step.component == Component::text || step.component == Component::head) {
      facts.token_weight_bytes += step.kept_bytes;
    }
  }
  const qwen3_vl::TextConfig text = config.text;
  facts.prefill_operations = [text](int64_t tokens) { return prefill_operations(text, tokens); };
  facts.cache_bytes = [text, &backend](int64_t tokens) {
    return static_cast<double>(qwen3_vl::cache_bytes(text, backend, tokens));
  };
  if (options.image_width > 0) {
    // Where there is none the engine will say so.
    const auto limits =
        qwen3_vl::find_image_processor(model).value_or(qwen3_vl::ImageProcessorConfig{});
    const auto size = smart_resize(options.image_height, options.image_width, limits);
    if (!size) throw Error(ErrorCode::usage, "image: one side may be at most 200 times the other");
    const int64_t patches = patch_count(*size, limits);
    facts.image_operations = encode_operations(config, patches);
    facts.image_tokens = patches / (int64_t{limits.merge_size} * limits.merge_size);
  }
  return facts;
}

bool has_room(int64_t prompt, const BenchOptions& options, const ModelFacts& facts) {
  const bool decodes = contains(options.depth, prompt);
  return std::max<int64_t>(prompt, 1) + (decodes ? options.generate : 1) <= facts.max_tokens;
}

std::vector<int64_t> prompts_of(const BenchOptions& options, const ModelFacts& facts) {
  std::set<int64_t> prompts(options.prefill.begin(), options.prefill.end());
  prompts.insert(options.depth.begin(), options.depth.end());
  std::erase_if(prompts, [&](int64_t prompt) { return !has_room(prompt, options, facts); });
  return {prompts.begin(), prompts.end()};
}

Round run_round(const std::filesystem::path& model, const BenchOptions& options,
                const ModelFacts& facts, Backend& backend, EnergyMeter& energy, const Step& step) {
  Round round;
  step("loading");
  // What an earlier round freed would hide what this one takes.
  trim_memory();
  const int64_t before = resident_bytes();
  const bool peak_is_ours = restart_peak();
  const auto start = std::chrono::steady_clock::now();
  Engine engine(model, backend);
  round.load_s = seconds_since(start);
  round.loaded_bytes = std::max<int64_t>(0, resident_bytes() - before);
  round.stored_bytes = engine.weight_bytes();
  if (options.image_width > 0) {
    step("an image");
    ask_about_image(engine, options, energy, round);
  }
  for (const int64_t prompt : prompts_of(options, facts)) {
    step(fmt::format("a prompt of {} tokens", prompt));
    measure_prompt(engine, options, prompt, round);
  }
  if (peak_is_ours) round.peak_bytes = std::max<int64_t>(0, peak_resident_bytes() - before);
  return round;
}

}  // namespace squint::bench
