// pipeline.cpp: a checkpoint through the quantizer, one layer in memory at a time:
//
//     rows → images → hidden states ─┬→ layer, observed → smoothing → integers → journal
//                                    └→ layer, quantized → next hidden states
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <map>
#include <nlohmann/json.hpp>

#include "base/process_memory.h"
#include "io/atomic_file.h"
#include "io/checkpoint_writer.h"
#include "io/fingerprint.h"
#include "io/mapped_file.h"
#include "io/quantization_config.h"
#include "quantize/activations.h"
#include "quantize/bit_budget.h"
#include "quantize/block_quantizer.h"
#include "quantize/image_answers.h"
#include "quantize/journal.h"
#include "quantize/mappings.h"
#include "quantize/recipe.h"
#include "squint/error.h"
#include "squint/quantize.h"

namespace squint {
namespace {

namespace fs = std::filesystem;
using namespace quantize;
using qwen3_vl::DecoderBlock;
using qwen3_vl::DecoderBlockWeights;
using qwen3_vl::LinearRole;

constexpr const char* kReportJson = "report.json";
constexpr const char* kReportHtml = "report.html";

bool has_feedback(const QuantizeOptions& options) {
  return options.method == QuantizeMethod::gptq || options.method == QuantizeMethod::awq_gptq;
}

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
    plan.feedback = {.dampening = options.dampening,
                     .rounds = options.rounds,
                     .propagation = options.propagation};
  }
  return plan;
}

void check_fraction(std::string_view what, double value) {
  if (value >= 0 && value <= 1) return;
  throw Error(ErrorCode::usage, fmt::format("{}: expected 0 to 1, found {}", what, value));
}

void check_calibration(const QuantizeOptions& options) {
  for (const CalibrationSource& source : options.calibration) {
    if (!(source.weight > 0 && source.weight <= 1e9)) {
      throw Error(ErrorCode::usage, fmt::format("{}: expected a weight above 0, at most 1e9, found "
                                                "{}",
                                                source.path.string(), source.weight));
    }
    if (options.rows == 0 && source.weight != options.calibration[0].weight) {
      throw Error(ErrorCode::usage,
                  "weights say how rows are shared; say how many rows there should be");
    }
  }
  if (!options.calibration.empty()) return;
  if (options.method != QuantizeMethod::rtn) {
    throw Error(ErrorCode::usage,
                fmt::format("{} needs calibration data; rtn does without", name(options.method)));
  }
  if (options.observer == RangeObserver::imatrix || options.observer == RangeObserver::clip) {
    throw Error(ErrorCode::usage,
                fmt::format("observer {} weighs errors with what calibration data "
                            "shows; give some, or take mse",
                            name(*options.observer)));
  }
}

void check_options(const QuantizeOptions& options) {
  if (options.budget && (!(*options.budget >= 4 && *options.budget <= 16) || options.bits != 4)) {
    throw Error(ErrorCode::usage,
                fmt::format("budget: expected 4 to 16 bits per weight and \"bits\" of 4, found {} "
                            "and {}",
                            *options.budget, options.bits));
  }
  if (options.bits != 4 && options.bits != 8) {
    throw Error(ErrorCode::usage, fmt::format("bits: expected 4 or 8, found {}", options.bits));
  }
  if (options.group_size < 0 || options.group_size % 8 != 0) {
    throw Error(ErrorCode::usage, fmt::format("group size: expected a multiple of 8 (loaders take "
                                              "32, 64 and 128), or 0 for one scale per row, found "
                                              "{}",
                                              options.group_size));
  }
  if (options.rows < 0) {
    throw Error(ErrorCode::usage,
                fmt::format("rows: expected 0 (all) or more, found {}", options.rows));
  }
  if (options.calibration_tokens < 0) {
    throw Error(ErrorCode::usage, fmt::format("calibration tokens: expected 0 (any) or more, found "
                                              "{}",
                                              options.calibration_tokens));
  }
  check_calibration(options);
  check_fraction("dampening", options.dampening);
  check_fraction("propagation", options.propagation);
  check_fraction("image weight", options.image_weight);
  if (options.rounds < 0 || options.rounds > 100) {
    throw Error(ErrorCode::usage,
                fmt::format("rounds: expected 0 to 100, found {}", options.rounds));
  }
  if (has_feedback(options) && options.observer == RangeObserver::clip) {
    throw Error(ErrorCode::usage, fmt::format("{} chooses ranges by imatrix, mse or minmax, not {}",
                                              name(options.method), name(*options.observer)));
  }
  const int least = smallest_grid(options.duo_scaling);
  if (options.grid < least || options.grid > 1000) {
    throw Error(ErrorCode::usage,
                fmt::format("grid: expected {} to 1000 with duo scaling {}, found {}", least,
                            name(options.duo_scaling), options.grid));
  }
  const fs::path& out = options.output;
  if (!io::is_vacant(out)) {
    throw Error(ErrorCode::bad_input, fmt::format("{}: exists and is not empty; choose another "
                                                  "output folder or remove it",
                                                  out.string()));
  }
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
        cx_{.backend = backend, .scratch = scratch_} {
    plan_.on_candidate = [this] { stop_if_asked(); };
  }

  QuantizeReport run() {
    check_model();
    choose_layers();
    book("checking the model");
    ImageAnswers answers(fs::path(options_.output).concat(".answers.jsonl"), checkpoint_,
                         options_.read_image);
    if (!options_.calibration.empty()) load_rows(answers);
    const CalibrationSize size = measure(rows_, processor_, cx_.backend.host_threads(),
                                         [this](int64_t) { stop_if_asked(); });
    drop_rows(size.left_out);
    describe(size);
    const Journal journal(options_.output, identity());
    book("calibration rows");
    report_.plan = make_plan(size, journal);
    if (options_.on_plan) options_.on_plan(report_.plan);
    check_disk();
    if (options_.budget) first_step_ = size.rows + 2 * config_.text.layers * size.rows;
    total_ = first_step_ + size.rows + config_.text.layers * (2 * size.rows + 1) + 1;
    if (options_.budget) choose_bits(journal);
    done_ = first_step_;
    const std::vector<io::NamedTensor> replaced = quantize_layers(journal);
    write(replaced);
    journal.remove();
    answers.remove();
    return std::move(report_);
  }

 private:
  void load_rows(ImageAnswers& answers) {
    const auto read = [&](const fs::path& image, int64_t done, int64_t total) {
      if (options_.on_progress) {
        options_.on_progress(
            {fmt::format("image {} of {}", done + 1, total), done, total, elapsed()});
      }
      return answers.read(image);
    };
    SourceContext context{.tokenizer = processor_.tokenizer(),
                          .max_tokens = options_.calibration_tokens,
                          .read_image = {},
                          .on_row = [this] { stop_if_asked(); }};
    if (options_.read_image) context.read_image = read;
    rows_ = load_calibration(options_, context);
    answers.save();
  }

  void drop_rows(const std::vector<size_t>& numbers) {
    for (size_t i = numbers.size(); i-- > 0;) {
      rows_.erase(rows_.begin() + static_cast<int64_t>(numbers[i]));
    }
    if (!rows_.empty() || numbers.empty()) return;
    throw Error(ErrorCode::bad_input,
                fmt::format("{}: all {} calibration rows are empty or begin with an image of more "
                            "than {} tokens; allow longer rows",
                            options_.calibration[0].path.string(), numbers.size(),
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
    // The layers' own values are checked when they are loaded; what is only copied, here.
    for (const std::string& name : checkpoint_.names()) {
      if (name.starts_with("model.language_model.layers.")) continue;
      stop_if_asked();
      io::advise(checkpoint_.get(name), io::PageUse::soon);
      weights_.expect_finite(name);
      io::advise(checkpoint_.get(name), io::PageUse::done);
    }
    check_groups();
  }

  void check_groups() const {
    std::map<int64_t, std::map<std::string_view, int64_t>> problems;  // by group size
    for_each_linear([&](int64_t, LinearRole role, const Shape& shape, const auto& scheme) {
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

  // do_one(layer, role, shape, scheme) for the layers that may be quantized.
  template <class DoOne>
  void for_each_linear(const DoOne& do_one) const {
    for (int64_t layer = 0; layer < config_.text.layers; ++layer) {
      for (const LinearRole role : qwen3_vl::kAllLinears) {
        const std::string name = qwen3_vl::module_name(layer, role) + ".weight";
        do_one(layer, role, checkpoint_.get(name).shape(),
               schemes_[static_cast<size_t>(layer)][role]);
      }
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
    if (auto note = check_selection(options_, config_)) notes_.push_back(std::move(*note));
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
    for_each_linear([&](int64_t, LinearRole, const Shape& shape, const auto& scheme) {
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

  QuantizePlan make_plan(const CalibrationSize& size, const Journal& journal) const {
    const qwen3_vl::TextConfig& c = config_.text;
    QuantizePlan plan{.rows = size.rows,
                      .tokens = size.tokens,
                      .image_tokens = size.image_tokens,
                      .cut_rows = size.cut_rows,
                      .left_out_rows = static_cast<int64_t>(size.left_out.size()),
                      .layers = c.layers,
                      .resumed_layers = journal.finished(c.layers)};
    const auto taps = static_cast<int64_t>(config_.vision.deepstack_blocks.size());
    const int64_t paths = plan_.feedback ? 2 : 1;
    plan.activation_bytes = (paths * size.tokens + taps * size.image_tokens) * c.hidden * 4;
    const int64_t q = c.heads * c.head_dim;
    const int64_t weights = c.hidden * (2 * q + 2 * c.kv_heads * c.head_dim + 3 * c.intermediate);
    const int64_t largest = c.hidden * c.intermediate;
    // The layer as prepared (2 bytes a weight; with feedback also as quantized so far), its packed
    // form, one matrix with its errors, one chunk of inner activations.
    const int64_t prepared = size.rows == 0 ? 0 : plan_.feedback ? 4 : 2;
    const int64_t chunk =
        std::min(size.tokens, kChunkTokens) * (6 * c.hidden + 2 * c.intermediate + 4 * q) * 4;
    std::vector<int64_t> packed_layers(static_cast<size_t>(c.layers));
    int64_t packed = 0;
    for_each_linear([&](int64_t layer, LinearRole, const Shape& shape, const auto& scheme) {
      const int64_t bytes = stored_bits(shape[0], shape[1], scheme) / 8;
      packed_layers[static_cast<size_t>(layer)] += bytes;
      packed += bytes;
    });
    plan.block_bytes = weights * prepared + largest * 13 + chunk;
    if (options_.budget) {  // Not chosen yet: a layer may get twice the bits.
      packed = static_cast<int64_t>(*options_.budget / 8 * static_cast<double>(weights * c.layers));
      for (int64_t& bytes : packed_layers) bytes *= 2;
    }
    if (packed > 0) plan.block_bytes += std::ranges::max(packed_layers);
    if (size.rows > 0) {
      plan.statistics_bytes = 2 * InputStatistics::bytes(c.hidden) + InputStatistics::bytes(q) +
                              InputStatistics::bytes(c.intermediate);
    }
    if (plan_.feedback) {
      // The widest layer: its two moments, then H, its factor twice in float64, what rounding
      // reads, and the layer's target.
      const int64_t n = std::max({c.hidden, q, c.intermediate});
      plan.statistics_bytes += PairStatistics::bytes(n) + n * n * 24 + largest * 24;
    }
    plan.peak_bytes =
        size.held_bytes + plan.activation_bytes + plan.block_bytes + plan.statistics_bytes;
    const int64_t quantized = weights * c.layers;
    plan.output_bytes = checkpoint_.tensor_bytes() - 2 * quantized + packed;
    // The journal still holds the packed layers while the result is written.
    plan.disk_bytes = plan.output_bytes + packed / c.layers * (c.layers - plan.resumed_layers);
    plan.notes = notes_;
    return plan;
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
    book("sensitivity");
  }

  std::vector<SensitivityReport> measure_layers() {
    std::vector<SensitivityReport> out;
    std::unique_ptr<Activations> activations;
    if (!rows_.empty()) {
      activations = std::make_unique<Activations>(cx_, rows_, processor_, weights_, config_,
                                                  [&](int64_t rows) { progress("images", rows); });
    }
    BlockPlan plan = plan_;
    plan.schemes =
        module_schemes({.group_size = options_.group_size, .symmetric = options_.symmetric}, 1)[0];
    for (int64_t layer = 0; layer < config_.text.layers; ++layer) {
      stop_if_asked();
      const DecoderBlockWeights stored = DecoderBlockWeights::load(weights_, config_.text, layer);
      const auto on_rows = [&](int64_t rows) {
        progress(fmt::format("sensitivity of layer {} of {}", layer + 1, config_.text.layers),
                 rows);
      };
      std::optional<DecoderBlock> block;
      std::optional<BlockObserver> observer;
      if (activations) {
        block.emplace(stored, config_.text, layer, cx_.backend);
        observer.emplace(cx_, *block);
        cx_.observer = &*observer;
        activations->observe(cx_, *block, on_rows);
        cx_.observer = nullptr;
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

  void check_disk() const {
    const fs::path parent = fs::absolute(options_.output).parent_path();
    const int64_t needed = report_.plan.disk_bytes;
    const int64_t free = io::available_bytes(parent);
    if (free < needed) {
      throw Error(
          ErrorCode::io,
          fmt::format("{}: the disk has {:.1f} MB free, the run needs about {:.1f} MB; make "
                      "room, then start the same command again",
                      parent.string(), static_cast<double>(free) / 1e6,
                      static_cast<double>(needed) / 1e6));
    }
  }

  std::vector<io::NamedTensor> quantize_layers(const Journal& journal) {
    std::vector<io::NamedTensor> replaced;
    const int64_t layers = config_.text.layers;
    const bool calibrated = !rows_.empty();
    // Layers that are all finished need no activations any more.
    std::unique_ptr<Activations> activations;
    if (calibrated && report_.plan.resumed_layers < layers) {
      activations = std::make_unique<Activations>(
          cx_, rows_, processor_, weights_, config_,
          [&](int64_t rows) { progress("images", rows); }, plan_.feedback.has_value());
      book("images");
    }
    for (int64_t layer = 0; layer < layers; ++layer) {
      stop_if_asked();
      if (layer + 1 < layers) advise_layer(layer + 1, io::PageUse::soon);
      std::optional<QuantizedBlock> block = journal.find(layer);
      if (!block) {
        journal.write(layer, quantize_layer(layer, activations.get()));
        block = journal.find(layer);  // Mapped instead of in memory.
      }
      if (!block) {
        throw Error(ErrorCode::io,
                    fmt::format("{}.journal: layer {} was written and cannot be read back; was it "
                                "removed, or is the disk failing?",
                                options_.output.string(), layer));
      }
      stop_if_asked();
      book("scales and rounding");
      if (activations && layer + 1 < layers) advance(layer, *block, *activations);
      book("on to the next layer");
      advise_layer(layer, io::PageUse::done);
      std::ranges::move(block->tensors, std::back_inserter(replaced));
      std::ranges::move(block->linears, std::back_inserter(report_.linears));
      std::ranges::move(block->smoothing, std::back_inserter(report_.smoothing));
      for (const auto& [bin, count] : block->scales) report_.scales[bin] += count;
      // Counted from the start, so that layers found in the journal count too.
      done_ = first_step_ + report_.plan.rows + (layer + 1) * (2 * report_.plan.rows + 1);
      progress(phase_of(layer), 0);
    }
    return replaced;
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
    cx_.observer = &observer;
    activations->observe(cx_, block, [&](int64_t rows) { progress(phase_of(layer), rows); });
    cx_.observer = nullptr;
    observer.finish(layer);
    book("statistics");
    const PairedInputs inputs = [&](const DecoderBlock& current, LinearRole role,
                                    PairStatistics& pair) {
      return activations->observe_pair(cx_, block, current, role, options_.image_weight, pair);
    };
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
                        [&](int64_t rows) { progress(phase_of(layer), rows); });
  }

  void write(const std::vector<io::NamedTensor>& replaced) {
    stop_if_asked();
    io::CheckpointWriter writer(options_.output);
    std::set<std::string> gone;
    for (const io::NamedTensor& t : replaced) gone.insert(t.name);
    for (int64_t layer = 0; layer < config_.text.layers; ++layer) {
      for (const LinearRole role : qwen3_vl::kAllLinears) {
        gone.insert(qwen3_vl::module_name(layer, role) + ".weight");
      }
    }
    for (const std::string& name : checkpoint_.names()) {
      const Tensor& tensor = *checkpoint_.find(name);
      report_.parameters += tensor.numel();
      if (!gone.contains(name)) {
        writer.add({name, tensor});
      } else {
        report_.layers_source_bytes += tensor.bytes();
      }
    }
    for (const io::NamedTensor& t : replaced) {
      writer.add(t);
      report_.layers_output_bytes += t.tensor.bytes();
    }
    io::QuantizationConfig config;
    config.groups = config_groups(schemes_, observer_in_files(*options_.observer));
    // Text layers before the head, which is the last: the order in which loaders list them.
    std::vector<std::string> ignored = qwen3_vl::other_linears(config_);
    const std::vector<std::string> kept = unquantized_modules(schemes_);
    ignored.insert(ignored.end() - 1, kept.begin(), kept.end());
    for (const std::string& module : ignored) config.ignore.emplace_back(module);
    writer.write_side_file(io::kConfigFileName,
                           io::insert_quantization_config(checkpoint_.config_text(), config));
    writer.write_side_file("recipe.yaml", report_.recipe);
    writer.copy_side_files(options_.model);
    writer.write_weights(report_.parameters);
    book("writing");
    finish_report(writer.working_folder());
    writer.write_side_file(kReportJson, report_.to_json() + "\n");
    writer.write_side_file(kReportHtml, report_.to_html());
    writer.publish(report_.parameters);
    // Published: from here on there is nothing to stop any more.
    if (options_.on_progress) options_.on_progress({"writing", total_, total_, elapsed()});
  }

  // Over everything in `folder` that is to appear. A model's own reports are replaced.
  void finish_report(const fs::path& folder) {
    report_.output_bytes = io::Checkpoint::open(folder).tensor_bytes();
    for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
      const std::string name = entry.path().filename().string();
      if (name == kReportJson || name == kReportHtml) continue;
      report_.outputs.push_back(
          {.name = name,
           .bytes = static_cast<int64_t>(entry.file_size()),
           .sha256 = io::sha256_of_file(entry.path(), [this] { stop_if_asked(); })});
    }
    std::ranges::sort(report_.outputs, {}, &FileHash::name);
    book("hashing");
    RunReport& run = report_.run;
    run.seconds = elapsed();
    run.memory_bytes = memory_.peak();
    run.resident_bytes = peak_resident_bytes();
    const std::time_t now = std::time(nullptr);
    std::tm utc{};
    gmtime_r(&now, &utc);
    run.finished = fmt::format("{:04}-{:02}-{:02} {:02}:{:02}:{:02} UTC", utc.tm_year + 1900,
                               utc.tm_mon + 1, utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec);
  }

  // Counts the time since the last call as that of `phase`.
  void book(std::string_view phase) {
    std::vector<RunReport::Phase>& phases = report_.run.phases;
    auto at = std::ranges::find(phases, phase, &RunReport::Phase::name);
    if (at == phases.end()) at = phases.insert(at, {.name = std::string(phase)});
    const double now = elapsed();
    at->seconds += now - booked_;
    booked_ = now;
  }

  void stop_if_asked() {
    memory_.sample();
    if (options_.stop.stop_requested()) {
      throw Error(
          ErrorCode::interrupted,
          fmt::format("interrupted; finished layers are kept in {}.journal: the same command "
                      "continues after them",
                      options_.output.string()));
    }
  }

  void progress(const std::string& phase, int64_t steps) {
    done_ += steps;
    if (options_.on_progress) options_.on_progress({phase, done_, total_, elapsed()});
    stop_if_asked();
  }

  std::string phase_of(int64_t layer) const {
    return fmt::format("layer {} of {}", layer + 1, config_.text.layers);
  }

  double elapsed() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }

  const QuantizeOptions& options_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  io::Checkpoint checkpoint_;
  qwen3_vl::Config config_;
  qwen3_vl::Weights weights_;
  qwen3_vl::Processor processor_;
  BlockPlan plan_;  // but for the schemes
  ModuleSchemes schemes_;
  Arena scratch_;
  Context cx_;
  std::vector<std::string> notes_;
  std::vector<Conversation> rows_;
  QuantizeReport report_;
  PeakMemory memory_;
  double booked_ = 0;
  int64_t done_ = 0;
  int64_t first_step_ = 0;  // of quantizing: the steps of measuring come before
  int64_t total_ = 1;
};

}  // namespace

void apply_preset(QuantizePreset preset, QuantizeOptions& options) {
  const QuantizeOptions defaults;
  options.method = preset == QuantizePreset::fast ? QuantizeMethod::awq : QuantizeMethod::awq_gptq;
  options.observer.reset();
  options.dampening = defaults.dampening;
  options.rounds = preset == QuantizePreset::best ? 6 : defaults.rounds;
  options.propagation = defaults.propagation;
  options.image_weight = defaults.image_weight;
}

QuantizeReport quantize_checkpoint(const QuantizeOptions& options, Backend& backend) {
  // "out", "./out" and "out/" are one folder, with one journal beside it.
  if (options.output.empty()) {
    throw Error(ErrorCode::usage, "output: expected a folder, found an empty name");
  }
  QuantizeOptions normal = options;
  std::error_code error;
  normal.output = fs::absolute(options.output, error).lexically_normal();
  if (error) {
    throw Error(ErrorCode::io, fmt::format("{}: the current folder is unknown: {}",
                                           options.output.string(), error.message()));
  }
  if (!normal.output.has_filename()) normal.output = normal.output.parent_path();
  if (!normal.observer) {
    normal.observer = has_feedback(options) ? RangeObserver::imatrix : RangeObserver::mse;
  }
  check_options(normal);
  return Run(normal, backend).run();
}

}  // namespace squint
