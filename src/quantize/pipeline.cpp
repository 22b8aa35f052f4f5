// pipeline.cpp: a checkpoint through the quantizer, one layer in memory at a time:
//
//     rows → images → hidden states ─┬→ layer, observed → smoothing → integers → journal
//                                    └→ layer, quantized → next hidden states
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>

#include "io/fingerprint.h"
#include "io/mapped_file.h"
#include "quantize/activations.h"
#include "quantize/bit_budget.h"
#include "quantize/block_quantizer.h"
#include "quantize/check_options.h"
#include "quantize/held_out.h"
#include "quantize/image_answers.h"
#include "quantize/joined_rows.h"
#include "quantize/journal.h"
#include "quantize/mappings.h"
#include "quantize/output.h"
#include "quantize/phases.h"
#include "quantize/quantize_plan.h"
#include "quantize/recipe.h"
#include "quantize/run_watch.h"
#include "quantize/token_weights.h"
#include "quantize/vocabulary.h"
#include "quantize/work_rates.h"
#include "squint/error.h"
#include "squint/quantize.h"

namespace squint {
namespace {

using namespace quantize;
using qwen3_vl::DecoderBlock;
using qwen3_vl::DecoderBlockWeights;
using qwen3_vl::LinearRole;

BlockPlan block_plan(const QuantizeOptions& options) {
  BlockPlan plan{
      .schemes = {},
      .observer = options.observer == RangeObserver::mse ? Observer::mse : Observer::minmax,
      .smooth = options.method == QuantizeMethod::awq || options.method == QuantizeMethod::awq_gptq,
      .weighted_ranges = options.observer == RangeObserver::imatrix,
      .clipped_ranges = options.observer == RangeObserver::clip,
      .duo = options.duo_scaling,
      .grid = options.grid};
  if (has_feedback(options)) {
    plan.feedback = {.damping = {options.dampening, options.shrinkage},
                     .rounds = options.rounds,
                     .propagation = options.propagation};
  }
  return plan;
}

class Run {
 public:
  Run(const QuantizeOptions& options, Backend& backend)
      : options_(options),
        checkpoint_(io::Checkpoint::open(options.model)),
        config_(qwen3_vl::parse_config(checkpoint_.config(),
                                       (options.model / io::kConfigFileName).string())),
        weights_(checkpoint_),
        processor_(checkpoint_, config_),
        plan_(block_plan(options)),
        schemes_(module_schemes(options, config_.text.layers)),
        scratch_(backend),
        cx_{.backend = backend, .scratch = scratch_},
        answers_(std::filesystem::path(options.output).concat(".answers.jsonl"), checkpoint_,
                 options.read_image) {
    plan_.on_candidate = [this] { watch_.stop_if_asked(); };
  }

  QuantizePlan plan() {
    const CalibrationSize size = prepare(Answers::known);
    const auto journal = Journal::existing(options_.output, identity());
    plan(size, journal ? &*journal : nullptr);
    check_plan(report_.plan, options_);
    return report_.plan;
  }

  QuantizeReport run() {
    const CalibrationSize size = prepare(Answers::asked);
    const Journal journal(options_.output, identity());
    plan(size, &journal);
    if (options_.on_plan) options_.on_plan(report_.plan);
    check_plan(report_.plan, options_);
    if (options_.budget) first_step_ = size.rows + 2 * config_.text.layers * size.rows;
    before_layers_ = first_step_ + size.rows + (measures_tokens(options_) ? size.rows : 0);
    watch_.expect(before_layers_ + config_.text.layers * (2 * size.rows + 1) +
                  held_out_steps(held_out_size_.rows, config_.text.layers) + 1);
    if (options_.budget) choose_bits(journal);
    watch_.go_to(first_step_);
    const std::vector<io::NamedTensor> replaced = quantize_layers(journal);
    write_output({.options = options_,
                  .cx = cx_,
                  .weights = weights_,
                  .config = config_,
                  .schemes = schemes_,
                  .replaced = replaced,
                  .on_written = [this](const auto& folder) { measure_result(folder); }},
                 watch_, report_);
    journal.remove();
    answers_.remove();
    return std::move(report_);
  }

 private:
  // To images that have none: those an earlier run was given, or also new ones.
  enum class Answers : uint8_t { known, asked };

  // Everything up to the plan: the model is what it should be, the rows are read and described.
  CalibrationSize prepare(Answers answers) {
    check_model();
    choose_layers();
    watch_.book("checking the model");
    if (!options_.calibration.empty()) load_rows(answers);
    CalibrationSize size = measured(rows_);
    held_out_size_ = measured(held_out_);
    if (rows_.empty() && !size.left_out.empty()) refuse_empty(size);
    describe(size);
    watch_.book("calibration rows");
    return size;
  }

  void plan(const CalibrationSize& size, const Journal* journal) {
    const int64_t layers = config_.text.layers;
    report_.plan = make_plan({.options = options_,
                              .config = config_,
                              .checkpoint = checkpoint_,
                              .schemes = schemes_,
                              .size = size,
                              .held_out = held_out_size_,
                              .rates = measure_rates(cx_.backend),
                              .resumed_layers = journal != nullptr ? journal->finished(layers) : 0,
                              .held_bytes = watch_.memory(),
                              .checking_seconds = watch_.seconds_of("checking the model"),
                              .reading_seconds = watch_.seconds_of("calibration rows")});
    report_.plan.notes = notes_;
    watch_.book("planning");
  }

  void load_rows(Answers wanted) {
    int64_t unknown = 0;
    const AskImage read = [&](const RowImage& image, const std::string& prompt, int64_t done,
                              int64_t total) {
      watch_.report_outside(fmt::format("image {} of {}", done + 1, total), done, total);
      if (wanted == Answers::asked) return answers_.read(image, prompt);
      const std::optional<std::string> answer = answers_.find(image, prompt);
      if (!answer) ++unknown;
      return answer.value_or("");
    };
    SourceContext context{.tokenizer = processor_.tokenizer(),
                          .max_tokens = options_.calibration_tokens,
                          .read_image = {},
                          .on_row = [this] { watch_.stop_if_asked(); }};
    if (options_.read_image) context.read_image = read;
    rows_ = load_calibration(options_, context);
    held_out_ = hold_out(options_.held_out, rows_);  // before parts of them are joined to others
    if (options_.joined > 0) {
      std::ranges::move(joined_rows(rows_, options_.joined, read), std::back_inserter(rows_));
    }
    if (unknown > 0) {
      notes_.push_back(fmt::format(
          "{} images have no answers yet: reading them comes before all this", unknown));
    }
    answers_.save();
  }

  // Leaves out rows that have no tokens.
  CalibrationSize measured(std::vector<Conversation>& rows) {
    CalibrationSize size = measure(rows, processor_, cx_.backend.host_threads(),
                                   [this](int64_t) { watch_.stop_if_asked(); });
    for (size_t i = size.left_out.size(); i-- > 0;) {
      rows.erase(rows.begin() + static_cast<int64_t>(size.left_out[i]));
    }
    return size;
  }

  [[noreturn]] void refuse_empty(const CalibrationSize& size) const {
    throw Error(ErrorCode::bad_input,
                fmt::format("{}: all {} calibration rows are empty or begin with an image of more "
                            "than {} tokens; allow longer rows",
                            options_.calibration[0].path.string(), size.left_out.size(),
                            options_.calibration_tokens));
  }

  void check_model() {
    if (weights_.quantization()) {
      throw Error(ErrorCode::bad_input,
                  fmt::format("{}: already quantized (config.json has a quantization_config); give "
                              "the original model",
                              options_.model.string()));
    }
    for (int64_t layer = 0; layer < config_.text.layers; ++layer) {
      DecoderBlockWeights::expect(weights_, config_.text, layer);
      for (const LinearRole role : qwen3_vl::kAllLinears) expect_bf16(layer, role);
    }
    check_tables(options_, config_, weights_);
    // The layers' own values are checked when they are loaded; what is only copied, here.
    for (const std::string& name : checkpoint_.names()) {
      if (name.starts_with("model.language_model.layers.")) continue;
      watch_.stop_if_asked();
      io::advise(checkpoint_.get(name), io::PageUse::soon);
      weights_.expect_finite(name);
      io::advise(checkpoint_.get(name), io::PageUse::done);
    }
    check_groups();
  }

  void check_groups() const {
    std::map<int64_t, std::map<std::string_view, int64_t>> problems;  // by group size
    for_each_linear(checkpoint_, schemes_,
                    [&](int64_t, LinearRole role, const Shape& shape, const auto& scheme) {
                      if (scheme && !scheme->divides(shape[1])) {
                        problems[scheme->group_size][qwen3_vl::short_name(role)] = shape[1];
                      }
                    });
    for (const auto& [group_size, roles] : problems) {
      std::string text;
      for (const auto& [role, columns] : roles) {
        text += fmt::format("{}{} has {} columns", text.empty() ? "" : ", ", role, columns);
      }
      throw Error(ErrorCode::bad_input,
                  fmt::format("{}: groups of {} do not divide all layers: {}; choose another group "
                              "size",
                              options_.model.string(), group_size, text));
    }
  }

  // Which layers the options name, by patterns that a recipe may hold.
  void choose_layers() {
    if (plan_.smooth) {
      SmoothGroups chosen = choose_groups(options_.mappings, config_.text);
      plan_.groups = std::move(chosen.layers);
      if (chosen.left_out) {
        notes_.emplace_back(
            "v_proj → o_proj is left out, as llm-compressor does: their widths differ");
      }
    }
    if (auto note = note_on_selection(options_, config_)) notes_.push_back(std::move(*note));
    for (const std::string& module : packed_tables(options_)) {
      notes_.push_back(fmt::format("{} gets {} bits: not every loader reads that (docs/recipes.md)",
                                   module, table_scheme(options_).bits));
    }
  }

  void expect_bf16(int64_t layer, LinearRole role) const {
    const std::string name = qwen3_vl::module_name(layer, role) + ".weight";
    const Tensor weight = checkpoint_.get(name);
    if (weight.dtype() == DType::bf16) return;
    throw Error(ErrorCode::unsupported,
                fmt::format("{}: \"{}\" is {}; weights to be quantized must be BF16",
                            options_.model.string(), name, squint::name(weight.dtype())));
  }

  // What the report says of the inputs.
  void describe(const CalibrationSize& size) {
    report_.options = options_;
    const Json type = checkpoint_.config().value("model_type", Json());
    if (type.is_string()) report_.architecture = type.get<std::string>();
    report_.source_bytes = checkpoint_.tensor_bytes();
    report_.model_hash = io::fingerprint(checkpoint_);
    report_.calibration_hash = size.rows > 0 ? size.input_hash : "";
    describe_schemes();
    report_.run.backend = cx_.backend.name();
    report_.run.kernels = cx_.backend.kernels();
    report_.run.threads = cx_.backend.host_threads().size();
  }

  void describe_schemes() {
    report_.recipe = recipe_yaml(options_, schemes_);
    report_.options_hash = io::sha256(report_.recipe);
    int64_t bits = 0;
    int64_t weights = 0;
    for_each_linear(checkpoint_, schemes_,
                    [&](int64_t, LinearRole, const Shape& shape, const auto& scheme) {
                      bits += stored_bits(shape[0], shape[1], scheme);
                      weights += shape.numel();
                    });
    report_.bits_per_weight =
        static_cast<double>(bits) / static_cast<double>(std::max<int64_t>(weights, 1));
  }

  // Everything that the output's bytes depend on, and the form of the journal.
  std::string identity() const {
    return fmt::format("squint 3\n{}\n{}\n{}\n{}\n{}\n", report_.model_hash, report_.recipe,
                       report_.calibration_hash, cx_.backend.name(),
                       cx_.backend.kernels() == "scalar" ? "scalar" : "fused");
  }

  // Measured on the unquantized model, before anything is rounded.
  void choose_bits(const Journal& journal) {
    if (auto known = journal.find_sensitivity()) {
      report_.sensitivity = std::move(*known);
    } else {
      report_.sensitivity = measure_layers();
      journal.write_sensitivity(report_.sensitivity);
    }
    std::array<Shape, qwen3_vl::kLinearRoles> shapes;
    for (const LinearRole role : qwen3_vl::kAllLinears) {
      shapes[static_cast<size_t>(role)] =
          checkpoint_.get(qwen3_vl::module_name(0, role) + ".weight").shape();
    }
    spend_budget(options_, shapes, report_.sensitivity, schemes_);
    describe_schemes();
    watch_.book("sensitivity");
  }

  std::unique_ptr<Activations> make_activations(bool paired) {
    KeptStates keep{.paired = paired};
    std::optional<io::ScratchFile> file;
    if (report_.plan.spilled_bytes > 0) {
      keep.file = &file.emplace(options_.output.parent_path(), report_.plan.spilled_bytes);
    }
    return std::make_unique<Activations>(
        cx_, rows_, processor_, weights_, config_,
        [this](int64_t rows) { watch_.advance(kVisionPhase, rows); }, keep);
  }

  std::vector<SensitivityReport> measure_layers() {
    std::vector<SensitivityReport> out;
    std::unique_ptr<Activations> activations;
    if (!rows_.empty()) {
      activations = make_activations(false);
    }
    BlockPlan plan = plan_;
    plan.schemes =
        module_schemes({.group_size = options_.group_size, .symmetric = options_.symmetric}, 1)[0];
    for (int64_t layer = 0; layer < config_.text.layers; ++layer) {
      watch_.stop_if_asked();
      const DecoderBlockWeights stored = DecoderBlockWeights::load(weights_, config_.text, layer);
      const auto on_rows = [&](int64_t rows) {
        watch_.advance(fmt::format("sensitivity of layer {} of {}", layer + 1, config_.text.layers),
                       rows);
      };
      std::optional<DecoderBlock> block;
      std::optional<BlockObserver> observer;
      if (activations) {
        block.emplace(stored, config_.text, layer, cx_.backend);
        observer.emplace(cx_, *block);
        activations->observe(cx_, *block, *observer, on_rows);
        observer->finish(layer);
      }
      std::ranges::move(measure_sensitivity(cx_, stored, config_.text, layer, plan,
                                            observer ? &*observer : nullptr),
                        std::back_inserter(out));
      if (activations) activations->advance(cx_, *block, nullptr, layer, on_rows);
      advise_layer(layer, io::PageUse::done);
    }
    return out;
  }

  [[noreturn]] void refuse_lost(int64_t layer) const {
    throw Error(ErrorCode::io,
                fmt::format("{}.journal: layer {} was written and cannot be read back; was it "
                            "removed, or is the disk failing?",
                            options_.output.string(), layer));
  }

  std::vector<io::NamedTensor> quantize_layers(const Journal& journal) {
    std::vector<io::NamedTensor> replaced;
    const int64_t layers = config_.text.layers;
    const bool calibrated = !rows_.empty();
    // Layers that are all finished need no activations any more.
    std::unique_ptr<Activations> activations;
    if (calibrated && report_.plan.resumed_layers < layers) {
      activations = make_activations(plan_.feedback.has_value());
      watch_.book(kVisionPhase);
      if (plan_.feedback) weigh_tokens(*activations);
    }
    LayerWriter writer(journal);
    std::optional<int64_t> being_written;
    const auto adopt = [&](QuantizedBlock& block) {
      std::ranges::move(block.tensors, std::back_inserter(replaced));
      std::ranges::move(block.linears, std::back_inserter(report_.linears));
      std::ranges::move(block.smoothing, std::back_inserter(report_.smoothing));
      for (const auto& [bin, count] : block.scales) report_.scales[bin] += count;
    };
    // Mapped instead of in memory.
    const auto adopt_written = [&] {
      if (!being_written) return;
      writer.wait();
      std::optional<QuantizedBlock> block = journal.find(*being_written);
      if (!block) refuse_lost(*being_written);
      adopt(*block);
      being_written.reset();
    };
    for (int64_t layer = 0; layer < layers; ++layer) {
      watch_.stop_if_asked();
      if (layer + 1 < layers) advise_layer(layer + 1, io::PageUse::soon);
      std::optional<QuantizedBlock> block = journal.find(layer);
      const bool known = block.has_value();
      if (!known) {
        block = quantize_layer(layer, activations.get());
        adopt_written();
        writer.begin(layer, *block);
        being_written = layer;
      }
      watch_.stop_if_asked();
      watch_.book(kRoundingPhase);
      if (activations && layer + 1 < layers) advance(layer, *block, *activations);
      watch_.book("on to the next layer");
      advise_layer(layer, io::PageUse::done);
      if (known) {
        adopt_written();
        adopt(*block);
      }
      // Counted from the start, so that layers found in the journal count too.
      watch_.go_to(before_layers_ + (layer + 1) * (2 * report_.plan.rows + 1));
      watch_.advance(phase_of(layer), 0);
    }
    adopt_written();
    return replaced;
  }

  // On rows that no layer was calibrated on, as squint::compare_models does.
  void measure_result(const std::filesystem::path& folder) {
    if (held_out_.empty()) return;
    report_.held_out =
        measure_held_out(cx_,
                         {.rows = held_out_,
                          .processor = processor_,
                          .base = options_.model,
                          .quantized = folder,
                          .plain = schemes_},
                         [this](int64_t rows) { watch_.advance(kHeldOutPhase, rows); });
    watch_.book(kHeldOutPhase);
  }

  void weigh_tokens(const Activations& activations) {
    token_weights_ = TokenWeights(config_.text.layers, {options_.image_weight.value_or(1), 1, 1});
    if (!measures_tokens(options_)) return;
    int64_t steps = 0;  // as many in all as there are rows, whatever part of them the pass takes
    const auto on_part = [&](int64_t done, int64_t total) {
      const int64_t now = done * report_.plan.rows / total;
      watch_.advance(kGradientPhase, now - std::exchange(steps, now));
    };
    const auto measured =
        measure_token_weights(cx_, activations, weights_, config_, kGradientBytes, on_part);
    if (measured) token_weights_ = *measured;
    watch_.book(kGradientPhase);
  }

  void advise_layer(int64_t layer, io::PageUse use) const {
    for (const LinearRole role : qwen3_vl::kAllLinears) {
      io::advise(checkpoint_.get(qwen3_vl::module_name(layer, role) + ".weight"), use);
    }
  }

  QuantizedBlock quantize_layer(int64_t layer, const Activations* activations) {
    const DecoderBlockWeights stored = DecoderBlockWeights::load(weights_, config_.text, layer);
    BlockPlan plan = plan_;
    plan.schemes = schemes_[static_cast<size_t>(layer)];
    if (activations == nullptr) {
      return quantize_block(cx_, stored, config_.text, layer, plan, nullptr, nullptr);
    }
    const DecoderBlock block(stored, config_.text, layer, cx_.backend);
    BlockObserver observer(cx_, block);
    activations->observe(cx_, block, observer,
                         [&](int64_t rows) { watch_.advance(phase_of(layer), rows); });
    observer.finish(layer);
    watch_.book("statistics");
    const PairedInputs inputs = [&](const DecoderBlock& current, LinearRole role,
                                    std::span<PairStatistics> pairs) {
      activations->observe_pairs(cx_, block, current, role, pairs);
    };
    if (plan.feedback) plan.feedback->tokens = token_weights_->of(layer);
    return quantize_block(cx_, stored, config_.text, layer, plan, &observer, inputs);
  }

  // The next layer sees what the quantized one makes of the rows.
  void advance(int64_t layer, const QuantizedBlock& quantized, Activations& activations) {
    DecoderBlockWeights weights = DecoderBlockWeights::load(weights_, config_.text, layer);
    std::optional<DecoderBlock> target;
    if (plan_.feedback) target.emplace(weights, config_.text, layer, cx_.backend);
    std::map<std::string, Tensor> by_name;
    for (const io::NamedTensor& t : quantized.tensors) by_name[t.name] = t.tensor;
    for (const LinearRole role : qwen3_vl::kAllLinears) {
      const std::string module = qwen3_vl::module_name(layer, role);
      const auto& scheme = schemes_[static_cast<size_t>(layer)][role];
      LinearWeight& w = weights[role];
      if (!scheme) {
        w.weight = by_name.at(module + ".weight");
        continue;
      }
      PackedLinear packed{.rows = w.out_features,
                          .cols = w.in_features,
                          .group_size = scheme->group_columns(w.in_features),
                          .bits = scheme->bits};
      packed.packed = by_name.at(module + ".weight_packed");
      packed.scale = by_name.at(module + ".weight_scale");
      if (!scheme->symmetric) packed.zero_point = by_name.at(module + ".weight_zero_point");
      w.weight = std::move(packed);
    }
    for (const qwen3_vl::NormRole role : qwen3_vl::kAllNorms) {
      weights[role] = by_name.at(qwen3_vl::norm_name(layer, role));
    }
    const DecoderBlock block(weights, config_.text, layer, cx_.backend);
    activations.advance(cx_, block, target ? &*target : nullptr, layer,
                        [&](int64_t rows) { watch_.advance(phase_of(layer), rows); });
  }

  std::string phase_of(int64_t layer) const {
    return fmt::format("layer {} of {}", layer + 1, config_.text.layers);
  }

  const QuantizeOptions& options_;
  RunWatch watch_{options_};
  io::Checkpoint checkpoint_;
  qwen3_vl::Config config_;
  qwen3_vl::Weights weights_;
  qwen3_vl::Processor processor_;
  BlockPlan plan_;  // but for the schemes
  ModuleSchemes schemes_;
  Arena scratch_;
  Context cx_;
  ImageAnswers answers_;
  std::vector<std::string> notes_;
  std::vector<Conversation> rows_;      // to calibrate on
  std::vector<Conversation> held_out_;  // to measure the result with
  CalibrationSize held_out_size_;
  std::optional<TokenWeights> token_weights_;  // where there is feedback
  QuantizeReport report_;
  int64_t first_step_ = 0;     // of quantizing: the steps of measuring come before
  int64_t before_layers_ = 0;  // steps
};

}  // namespace

void apply_preset(QuantizePreset preset, QuantizeOptions& options) {
  const QuantizeOptions defaults;
  options.method = preset == QuantizePreset::fast ? QuantizeMethod::awq : QuantizeMethod::awq_gptq;
  options.observer.reset();
  options.dampening = defaults.dampening;
  options.shrinkage = defaults.shrinkage;
  const bool best = preset == QuantizePreset::best;
  options.rounds = best ? 6 : defaults.rounds;
  options.joined = best ? 2 : 0;
  options.propagation = defaults.propagation;
  options.image_weight = defaults.image_weight;
}

namespace {

// Options with what they leave open decided, and checked.
QuantizeOptions decided(const QuantizeOptions& options) {
  // "out", "./out" and "out/" are one folder, with one journal beside it.
  if (options.output.empty()) {
    throw Error(ErrorCode::usage, "output: expected a folder, found an empty name");
  }
  QuantizeOptions normal = options;
  std::error_code error;
  normal.output = std::filesystem::absolute(options.output, error).lexically_normal();
  if (error) {
    throw Error(ErrorCode::io, fmt::format("{}: the current folder is unknown: {}",
                                           options.output.string(), error.message()));
  }
  if (!normal.output.has_filename()) normal.output = normal.output.parent_path();
  if (!normal.observer) {
    normal.observer = has_feedback(options) ? RangeObserver::imatrix : RangeObserver::mse;
  }
  check_options(normal);
  return normal;
}

}  // namespace

QuantizeReport quantize_checkpoint(const QuantizeOptions& options, Backend& backend) {
  const QuantizeOptions all = decided(options);
  return Run(all, backend).run();
}

QuantizePlan plan_quantization(const QuantizeOptions& options, Backend& backend) {
  const QuantizeOptions all = decided(options);
  return Run(all, backend).plan();
}

}  // namespace squint
