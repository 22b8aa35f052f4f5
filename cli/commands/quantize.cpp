#include "squint/quantize.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <charconv>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "command.h"
#include "default_calibration.h"
#include "squint/engine.h"
#include "squint/error.h"
#include "terminal.h"

namespace squint::cli {
namespace {

struct Options {
  QuantizeOptions quantize;
  std::vector<std::string> calibration;  // PATH or PATH=WEIGHT
  std::vector<std::string> overrides;    // PATTERN=BITS or PATTERN=BITS:GROUP
  // What was named beside the preset, or instead of it.
  QuantizePreset preset = QuantizePreset::balanced;
  std::optional<QuantizeMethod> method;
  std::filesystem::path recipe;  // instead of both
  std::optional<double> dampening;
  std::optional<double> shrinkage;
  std::optional<int> rounds;
  std::optional<double> propagation;
  std::optional<double> image_weight;
  std::optional<int> joined;
  DeviceOptions device;
  std::string memory;  // "4G"
  bool asymmetric = false;
  bool positive_scales = false;
  bool plan = false;
  bool json = false;
};

// A path that is there is meant, whatever it looks like.
CalibrationSource parse_source(const std::string& text) {
  std::error_code unknown;
  const size_t at = text.rfind('=');
  if (at == std::string::npos || std::filesystem::exists(text, unknown)) return {.path = text};
  CalibrationSource source{.path = text.substr(0, at)};
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data() + at + 1, end, source.weight);
  if (error != std::errc() || stop != end || at == 0) return {.path = text};
  return source;
}

// Patterns may hold '=' and ':' themselves.
SchemeOverride parse_override(const std::string& text) {
  const size_t at = text.rfind('=');
  const char* end = text.data() + text.size();
  SchemeOverride override{.pattern = text.substr(0, at)};
  bool good = at != std::string::npos && at > 0;
  if (good) {
    const auto [stop, error] = std::from_chars(text.data() + at + 1, end, override.bits);
    good = error == std::errc() && (stop == end || *stop == ':');
    if (good && stop != end) {
      const auto [last, wrong] = std::from_chars(stop + 1, end, override.group_size.emplace());
      good = wrong == std::errc() && last == end;
    }
  }
  if (good) return override;
  throw Error(ErrorCode::usage,
              fmt::format("--override {}: expected PATTERN=BITS or PATTERN=BITS:GROUP", text));
}

// "4G", "500M", "1.5G": powers of ten, as the plan counts.
int64_t parse_size(const std::string& text) {
  static const std::map<char, double> kUnits = {{'K', 1e3}, {'M', 1e6}, {'G', 1e9}, {'T', 1e12}};
  double number = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, number);
  std::string_view unit(stop, static_cast<size_t>(end - stop));
  if (unit.ends_with('B')) unit.remove_suffix(1);
  const auto factor = unit.size() == 1 ? kUnits.find(unit[0]) : kUnits.end();
  if (error == std::errc() && factor != kUnits.end() && number > 0 && number < 1e6) {
    return static_cast<int64_t>(number * factor->second);
  }
  throw Error(ErrorCode::usage,
              fmt::format("--memory {}: expected a number with K, M, G or T behind it, such as 4G "
                          "or 500M",
                          text));
}

// The model itself, loaded when the first image asks for it.
class Reader {
 public:
  Reader(std::filesystem::path model, Backend& backend, std::stop_token stop)
      : model_(std::move(model)), backend_(backend), stop_(std::move(stop)) {}

  std::string read(const ImageQuestion& question) {
    if (!engine_) engine_.emplace(model_, backend_);
    const Request request{.turns = {{.text = question.prompt,
                                     .images = {{.path = question.name, .bytes = question.bytes}}}},
                          .max_tokens = 256,
                          .sampling = {.temperature = question.temperature, .seed = question.seed}};
    return engine_->generate(request, {}, stop_).text;
  }
  // Its memory is needed for quantizing.
  void close() { engine_.reset(); }

 private:
  std::filesystem::path model_;
  Backend& backend_;
  std::stop_token stop_;
  std::optional<Engine> engine_;
};

void choose_method(const Options& options, QuantizeOptions& q) {
  if (!options.recipe.empty()) {
    for (const std::string& note : apply_recipe(options.recipe, q)) {
      fmt::print(stderr, "{}: {}\n", options.recipe.string(), note);
    }
    return;
  }
  const std::optional<RangeObserver> observer = q.observer;
  apply_preset(options.preset, q);
  if (observer) q.observer = observer;
  q.method = options.method.value_or(q.method);
  q.dampening = options.dampening.value_or(q.dampening);
  q.symmetric = !options.asymmetric;
}

void choose(const Options& options, QuantizeOptions& q) {
  const bool hold_out = q.held_out.value_or(0) > 0;
  choose_method(options, q);
  q.signed_scales = q.signed_scales && !options.positive_scales;
  q.rounds = options.rounds.value_or(q.rounds);
  q.shrinkage = options.shrinkage.value_or(q.shrinkage);
  q.propagation = options.propagation.value_or(q.propagation);
  q.joined = options.joined.value_or(q.joined);
  if (options.image_weight) q.image_weight = options.image_weight;
  if (!options.memory.empty()) q.memory_bytes = parse_size(options.memory);
  for (const std::string& text : options.overrides) q.overrides.push_back(parse_override(text));
  for (const std::string& text : options.calibration) q.calibration.push_back(parse_source(text));
  const bool needed = q.method != QuantizeMethod::rtn || q.observer == RangeObserver::imatrix ||
                      q.observer == RangeObserver::clip;
  if (!needed && q.calibration.empty() && hold_out) {
    throw Error(ErrorCode::usage,
                "--held-out: these are some of the calibration rows; give "
                "--calibration too");
  }
  if (!needed || !q.calibration.empty()) return;
  if (const auto rows = default_calibration()) {
    q.calibration = {{.path = *rows}};
    fmt::print(stderr,
               "no --calibration: taking squint's own, {}; rows like those the model will meet "
               "serve better\n",
               rows->string());
  }
}

std::string plan_text(const QuantizePlan& plan, const QuantizeOptions& options) {
  std::string text = fmt::format("{} calibration rows, {} tokens ({} of images)", plan.rows,
                                 plan.tokens, plan.image_tokens);
  if (plan.cut_rows > 0) text += fmt::format(", {} cut short", plan.cut_rows);
  if (plan.left_out_rows > 0) {
    text += fmt::format(", {} left out: empty, or too short for their image", plan.left_out_rows);
  }
  if (plan.held_out_rows > 0) {
    text += fmt::format("; {} more to measure the result with", plan.held_out_rows);
  }
  text += fmt::format("; {} layers", plan.layers);
  if (plan.resumed_layers > 0) text += fmt::format(", {} finished earlier", plan.resumed_layers);
  const bool spills = plan.spilled_bytes > 0;
  text += fmt::format(
      "\nmemory: about {} beside the mapped model (hidden states {}, a layer {}, statistics {}, "
      "tokenizer and rows {})\n",
      bytes_text(plan.peak_bytes), spills ? "in a file" : bytes_text(plan.activation_bytes),
      bytes_text(plan.block_bytes), bytes_text(plan.statistics_bytes), bytes_text(plan.held_bytes));
  text += fmt::format("disk: {} for {}, {} while it runs", bytes_text(plan.output_bytes),
                      options.output.string(), bytes_text(plan.disk_bytes));
  if (spills) text += fmt::format(", {} of them hidden states", bytes_text(plan.spilled_bytes));
  text += fmt::format("\ntime: about {}", duration_text(plan.seconds));
  std::string_view separator = " (";
  for (const QuantizePlan::Phase& phase : plan.phases) {
    if (phase.seconds < plan.seconds / 20) continue;
    text += fmt::format("{}{} {}", separator, phase.name, duration_text(phase.seconds));
    separator = ", ";
  }
  text += separator == " (" ? "\n" : ")\n";
  for (const std::string& note : plan.notes) text += fmt::format("note: {}\n", note);
  return text;
}

void run(Options& options, const Outcome& outcome) {
  QuantizeOptions& q = options.quantize;
  q.stop = outcome.stop;
  choose(options, q);
  // A single product of an 8B's widths takes seconds. What the journal has, it has.
  if (outcome.insist_on_stop) {
    outcome.insist_on_stop(
        fmt::format("interrupted; finished layers are kept in {}.journal: the "
                    "same command continues after them",
                    q.output.string()));
  }
  const BackendPtr backend = options.device.open();
  if (options.plan) {
    q.read_image = [](const ImageQuestion&) { return std::string(); };
    const QuantizePlan plan = plan_quantization(q, *backend);
    fmt::print("{}", options.json ? plan.to_json() + "\n" : plan_text(plan, q));
    return;
  }
  Reader reader(q.model, *backend, q.stop);
  q.read_image = [&](const ImageQuestion& question) { return reader.read(question); };
  // Reading images and quantizing have a bar each.
  std::optional<Progress> progress;
  progress.emplace("read");
  q.on_plan = [&](const QuantizePlan& plan) {
    reader.close();
    progress.reset();
    fmt::print(stderr, "{}", plan_text(plan, q));
    progress.emplace("quantize");
  };
  q.on_progress = [&](const QuantizeProgress& p) { progress->show(p.done, p.total, p.phase); };
  const QuantizeReport report = quantize_checkpoint(q, *backend);
  progress.reset();
  if (options.json) {
    fmt::print("{}\n", report.to_json());
    return;
  }
  // What the plan speaks of first: pages of mapped files go when memory is wanted.
  fmt::print(
      "\n{}\nwritten to {}, with every layer's numbers in report.html; memory {} at most, {} with "
      "mapped files\n",
      report.to_text(terminal_width()), q.output.string(), bytes_text(report.run.memory_bytes),
      bytes_text(report.run.resident_bytes));
}

}  // namespace

void add_quantize(CLI::App& app, Outcome& outcome) {
  const auto options = std::make_shared<Options>();
  QuantizeOptions& q = options->quantize;
  CLI::App* command =
      app.add_subcommand("quantize",
                         "The text layers in 4 bits, as vLLM, SGLang and transformers "
                         "read them");
  command->footer(
      "Examples:\n  squint quantize MODEL -o OUT\n"
      "  squint quantize models/reader --preset best --calibration data/calibration -o "
      "out/reader-w4a16\n\n"
      "Calibration rows are conversations (.jsonl, or .parquet with a column messages), plain\n"
      "text (.txt), or images, which the model then reads itself. Of a folder: calibration.jsonl,\n"
      "or else all files of the first of these kinds that is there. Sources share --rows by\n"
      "their weights; one that has too few gives all:\n"
      "  squint quantize MODEL --calibration scans --calibration chats.parquet=3 --rows 256 "
      "--seed 42 -o OUT\n\nMore bits where they matter; q, k and v of a layer stay alike, and gate "
      "and up:\n"
      "  squint quantize MODEL --override 're:.*down_proj=8' --override 're:.*layers.0.*=8' -o OUT"
      "\n\nInterrupted, the same command continues after the last "
      "finished layer.");
  command->add_option("MODEL", q.model, "checkpoint folder in BF16")
      ->required()
      ->check(refuse_empty);
  command->add_option("-o,--output", q.output, "folder to write; must be absent or empty")
      ->required()
      ->check(refuse_empty);
  command
      ->add_option("--calibration", options->calibration,
                   "a file or folder of rows; several times for several [rows that come with "
                   "squint; rtn needs none]")
      ->option_text("PATH[=WEIGHT]")
      ->allow_extra_args(false)
      ->check(refuse_empty);
  command->add_option("--rows", q.rows, "take N calibration rows of all sources together; 0: all")
      ->check(CLI::NonNegativeNumber);
  command->add_option("--seed", q.seed,
                      "draw rows at random, as NumPy's permutation does, not the first");
  command
      ->add_option("--calibration-tokens", q.calibration_tokens,
                   "cut rows at N tokens, never inside an image; 0: text at 512, others never")
      ->check(CLI::NonNegativeNumber);
  command
      ->add_option("--held-out", q.held_out,
                   "keep N rows with answers out of calibration, to measure the result with; 0: "
                   "none")
      ->option_text("N [a tenth of them, at most 64]")
      ->check(CLI::NonNegativeNumber);
  CLI::Option* recipe = command
                            ->add_option("--recipe", options->recipe,
                                         "do what a recipe.yaml of llm-compressor or squint says")
                            ->option_text("FILE")
                            ->check(refuse_empty);
  command
      ->add_option("--preset", options->preset,
                   "fast: awq; balanced: awq+gptq; best: the same, with more rounds of descent")
      ->option_text("fast|balanced|best [balanced]")
      ->transform(CLI::CheckedTransformer(
          std::map<std::string, QuantizePreset>{{"fast", QuantizePreset::fast},
                                                {"balanced", QuantizePreset::balanced},
                                                {"best", QuantizePreset::best}}))
      ->excludes(recipe);
  command
      ->add_option("--method", options->method, "instead: awq, gptq, both, or rtn: plain rounding")
      ->option_text("awq+gptq|gptq|awq|rtn")
      ->transform(CLI::CheckedTransformer(
          std::map<std::string, QuantizeMethod>{{"awq", QuantizeMethod::awq},
                                                {"gptq", QuantizeMethod::gptq},
                                                {"awq+gptq", QuantizeMethod::awq_gptq},
                                                {"rtn", QuantizeMethod::rtn}}))
      ->excludes(recipe);
  command->add_option("--observer", q.observer, "how a group's range becomes its scale")
      ->option_text("minmax|mse|imatrix|clip [mse; imatrix with gptq]")
      ->transform(CLI::CheckedTransformer(
          std::map<std::string, RangeObserver>{{"minmax", RangeObserver::minmax},
                                               {"mse", RangeObserver::mse},
                                               {"imatrix", RangeObserver::imatrix},
                                               {"clip", RangeObserver::clip}}))
      ->excludes(recipe);
  command
      ->add_option("--duo-scaling", q.duo_scaling,
                   "awq: whether factors also follow the weights' sizes")
      ->option_text("on|off|both [on]")
      ->transform(CLI::CheckedTransformer(std::map<std::string, DuoScaling>{
          {"on", DuoScaling::on}, {"off", DuoScaling::off}, {"both", DuoScaling::both}}))
      ->excludes(recipe);
  command->add_option("--grid", q.grid, "awq: factors to try for each group of layers")
      ->capture_default_str()
      ->excludes(recipe);
  command
      ->add_option("--dampening", options->dampening,
                   "gptq: added to the Hessian's diagonal [0.01]")
      ->excludes(recipe);
  command->add_option("--shrinkage", options->shrinkage,
                      "gptq: how far to mistrust what inputs have in common, 0 to 1 [0.2]");
  command->add_option("--rounds", options->rounds,
                      "gptq: rounds of descent after its pass [2; best: 6]");
  command->add_option("--propagation", options->propagation,
                      "gptq: how much of earlier layers' error to make up for, 0 to 1 [0.5]");
  command->add_option("--joined", options->joined,
                      "further rows for each one: parts of two images, joined [0; best: 2]");
  command->add_option("--image-weight", options->image_weight,
                      "gptq: what an image token counts beside a text token, 0 to 1 [measured]");
  command->add_option("--group-size", q.group_size, "columns that share a scale; 0: a whole row")
      ->capture_default_str()
      ->excludes(recipe);
  command->add_option("--bits", q.bits, "4 or 8")
      ->check(CLI::IsMember({4, 8}))
      ->capture_default_str()
      ->excludes(recipe);
  command
      ->add_option("--override", options->overrides,
                   "other bits for layers by name, or by re: and an expression; 16: left in BF16; "
                   "the last that matches wins")
      ->option_text("PATTERN=BITS[:GROUP]")
      ->allow_extra_args(false)
      ->check(refuse_empty);
  const std::map<std::string, int> table_bits = {{"bf16", 16}, {"int8", 8}};
  command
      ->add_option("--head", q.head_bits,
                   "the output layer; int8 is half as large, but not every loader reads it")
      ->option_text("bf16|int8 [bf16]")
      ->transform(CLI::CheckedTransformer(table_bits));
  command->add_option("--embedding", q.embedding_bits, "the token embeddings, likewise")
      ->option_text("bf16|int8 [bf16]")
      ->transform(CLI::CheckedTransformer(table_bits));
  command->add_option("--budget", q.budget,
                      "average bits of a weight in the text layers, scales counted, such as 4.5: "
                      "the layers that lose most get 8 or 16");
  command->add_flag("--asymmetric", options->asymmetric, "with zero points")->excludes(recipe);
  command->add_flag("--positive-scales", options->positive_scales,
                    "no scale below zero, as other quantizers write them; a little less close");
  command
      ->add_option("--memory", options->memory,
                   "take no more beside the mapped model: hidden states then go to a file beside "
                   "the output")
      ->option_text("SIZE, such as 4G")
      ->check(refuse_empty);
  command->add_flag("--plan", options->plan,
                    "print what it will take, memory, disk and time, and stop");
  command->add_flag("--json", options->json, "print the report, or the plan, as JSON");
  options->device.add_to(*command);
  command->callback([options, &outcome] { run(*options, outcome); });
}

}  // namespace squint::cli
