#include "quantize/work_estimate.h"

#include <algorithm>
#include <array>

#include "quantize/check_options.h"
#include "quantize/phases.h"
#include "quantize/token_weights.h"

namespace squint::quantize {

using qwen3_vl::LinearRole;

namespace {

// One layer's linear weights by the input they share; sizes as numbers that may be multiplied.
struct Unit {
  double in;
  std::vector<double> outs;
  bool smoothed = false;     // its columns can be
  bool source_rows = false;  // the rows of its last matrix are what smoothing of another rescales
  double before_input = 0;   // multiplications of the forward pass per token up to this input
};

struct Layer {
  std::array<Unit, 4> units;
  double weights = 0;
  double attention = 0;  // multiplications per token, of scores or of values
  double values = 0;     // per token, between the products: norms, rotation, activation, copies
};

Layer layer_of(const qwen3_vl::TextConfig& c, double context) {
  const auto h = static_cast<double>(c.hidden);
  const auto i = static_cast<double>(c.intermediate);
  const auto q = static_cast<double>(c.heads * c.head_dim);
  const auto kv = static_cast<double>(c.kv_heads * c.head_dim);
  Layer layer{.attention = context * q};
  const double attend = h * (q + 2 * kv) + layer.attention;
  layer.units = {
      Unit{.in = h, .outs = {q, kv, kv}, .smoothed = true},
      Unit{.in = q, .outs = {h}, .before_input = attend},
      Unit{.in = h,
           .outs = {i, i},
           .smoothed = true,
           .source_rows = true,
           .before_input = attend + q * h},
      Unit{.in = i, .outs = {h}, .smoothed = true, .before_input = attend + q * h + 2 * h * i}};
  layer.weights = h * (2 * q + 2 * kv + 3 * i);
  layer.values = 24 * h + 6 * i + 12 * (q + kv);
  return layer;
}

double sum(const std::vector<double>& values) {
  double total = 0;
  for (const double v : values) total += v;
  return total;
}

class Estimate {
 public:
  Estimate(const WorkInputs& in, const WorkRates& rates)
      : in_(in),
        r_(rates),
        rows_(static_cast<double>(in.size.rows)),
        tokens_(static_cast<double>(in.size.tokens)),
        layer_(layer_of(in.config.text, rows_ > 0 ? tokens_ / rows_ / 2 : 0)),
        smooth_(in.options.method == QuantizeMethod::awq ||
                in.options.method == QuantizeMethod::awq_gptq),
        feedback_(has_feedback(in.options)) {}

  std::vector<QuantizePlan::Phase> run() const {
    const auto layers = static_cast<double>(in_.config.text.layers);
    const double left = layers - static_cast<double>(in_.resumed_layers);
    const bool calibrated = rows_ > 0 && left > 0;
    const double read = static_cast<double>(in_.source_bytes) / in_.bytes_a_second;
    std::vector<QuantizePlan::Phase> phases;
    if (in_.options.budget) {
      phases.push_back(
          {"sensitivity", read + layers * sensitivity() + (calibrated ? images() : 0)});
    }
    if (calibrated) {
      phases.push_back({kVisionPhase, images()});
      if (measures_tokens(in_.options)) {
        phases.push_back({kGradientPhase, layers * gradient_pass()});
      }
      phases.push_back({"statistics", read + left * statistics()});
    }
    phases.push_back({kRoundingPhase, (calibrated ? 0 : read) + left * rounding()});
    if (calibrated) {
      // Layers that are finished run once more too: the next one needs what they make of the rows.
      phases.push_back({"on to the next layer", (layers - 1) * next_layer()});
    }
    const auto bytes = static_cast<double>(in_.output_bytes);
    phases.push_back({"writing", 2 * bytes / in_.bytes_a_second});
    if (in_.held_out_tokens > 0) {
      phases.push_back({kHeldOutPhase, held_out()});
    }
    phases.push_back({"hashing", bytes / r_.hash});
    return phases;
  }

 private:
  double forward() const {
    return tokens_ *
           ((layer_.weights + 2 * layer_.attention) / r_.product + layer_.values / r_.pass);
  }

  // Up through a layer and down again, which computes it once more, then the gradients.
  double gradient_pass() const {
    const double states = tokens_ * static_cast<double>(in_.config.text.hidden) * 4 *
                          static_cast<double>(in_.config.text.layers + 2);
    const double part = std::min(1.0, static_cast<double>(kGradientBytes) / std::max(states, 1.0));
    return part * 3 * forward() + 4 * layer_.weights / r_.pass;
  }

  // Three models on rows that have not been read yet.
  double held_out() const {
    const double part = static_cast<double>(in_.held_out_tokens) / std::max(tokens_, 1.0);
    return part * (images() + 3 * static_cast<double>(in_.config.text.layers) * forward());
  }

  double images() const {
    const qwen3_vl::VisionConfig& v = in_.config.vision;
    const double pictures = std::max<double>(1, static_cast<double>(in_.size.images));
    const auto tokens = static_cast<double>(in_.size.image_tokens);
    const auto hidden = static_cast<double>(v.hidden);
    const auto merged = static_cast<double>(v.merged_hidden());
    const double patches = tokens * static_cast<double>(v.merge_size * v.merge_size);
    const double block = hidden * (4 * hidden + 2 * static_cast<double>(v.intermediate)) +
                         2 * hidden * patches / pictures;
    const double mergers = 1 + static_cast<double>(v.deepstack_blocks.size());
    const double products =
        patches * (static_cast<double>(v.depth) * block +
                   hidden * static_cast<double>(v.patch_values())) +
        tokens * mergers * merged * (merged + static_cast<double>(v.out_hidden));
    const double values = patches * static_cast<double>(v.depth) *
                          (28 * hidden + 6 * static_cast<double>(v.intermediate));
    return in_.reading_seconds + products / r_.product + values / r_.pass;
  }

  double statistics() const {
    double moments = 0;
    double squares = 0;
    for (const Unit& u : layer_.units) {
      moments += tokens_ * u.in * u.in / 2;
      squares += u.in * u.in;
    }
    return layer_.weights / r_.pass + forward() + moments / r_.moment + squares / r_.pass;
  }

  double range_search() const {
    if (in_.options.observer == RangeObserver::mse) return 1 / r_.search;
    if (in_.options.observer == RangeObserver::minmax) return 1 / r_.pass;
    if (in_.options.observer == RangeObserver::imatrix) return 1 / r_.range_search;
    const double columns =
        in_.options.group_size > 0 ? static_cast<double>(in_.options.group_size) : 128.0;
    return 17 * (columns / r_.product + 1 / r_.pass);
  }

  // ‖error‖ of the outputs: a product with the second moment of the inputs.
  double output_errors(const Unit& u) const {
    return rows_ > 0 ? sum(u.outs) * u.in * u.in / r_.product : 0;
  }

  double smoothing(const Unit& u) const {
    if (!smooth_) return 0;
    const double weights = sum(u.outs) * u.in;
    double seconds = 0;
    if (u.smoothed) {
      seconds += in_.options.grid * (weights / r_.pass + output_errors(u));
      seconds += 2 * (weights * range_search() + output_errors(u));  // with it and without
    }
    if (u.source_rows) {
      const double part = 1.0 / static_cast<double>(u.outs.size());
      seconds += 2 * part * (weights * range_search() + output_errors(u));
    }
    return seconds;
  }

  double feedback(const Unit& u) const {
    const double out = sum(u.outs);
    const double values = u.before_input > 0 ? layer_.values / 2 : 0;
    const auto matrices = static_cast<double>(u.outs.size());
    // Where it is measured what tokens count, each matrix has moments of its own.
    const double counted = in_.options.image_weight ? 1 : matrices;
    const double inputs = 2 * tokens_ * (u.before_input / r_.product + values / r_.pass) +
                          2 * layer_.weights / r_.pass +
                          counted * tokens_ * u.in * u.in * (0.5 / r_.moment + 1 / r_.product);
    // A triangular factor; by products, of blocks not as large as those that the sample timed.
    constexpr double kBlocks = 1.3;
    const double factor = kBlocks * u.in * u.in * u.in / 6 / r_.product;
    const double targets = in_.options.propagation > 0
                               ? counted * factor + out * u.in * u.in * (kBlocks + 1) / r_.product
                               : 0;
    // Real weights move more integers than the sample's, by which descent was timed.
    constexpr double kMoves = 1.5;
    const double rounding =
        kMoves * out * u.in *
        (range_search() + u.in / 2 / r_.feedback + in_.options.rounds * u.in / r_.descent);
    return inputs + counted * factor + targets + rounding;
  }

  double rounding() const {
    double seconds = 0;
    for (const Unit& u : layer_.units) {
      const double weights = sum(u.outs) * u.in;
      seconds += smoothing(u);
      seconds += feedback_ ? feedback(u) : weights * range_search();
      seconds += 3 * output_errors(u) + 6 * weights / r_.pass;  // what the report says of it
    }
    return seconds;
  }

  double next_layer() const { return (feedback_ ? 2 : 1) * (forward() + layer_.weights / r_.pass); }

  // Every unit at two widths, smoothed where it can be.
  double sensitivity() const {
    double seconds = rows_ > 0 ? statistics() + forward() : 0;
    for (const Unit& u : layer_.units) {
      seconds += 2 * (smoothing(u) + sum(u.outs) * u.in * range_search() + output_errors(u));
    }
    return seconds;
  }

  const WorkInputs& in_;
  const WorkRates& r_;
  double rows_;
  double tokens_;
  Layer layer_;
  bool smooth_;
  bool feedback_;
};

}  // namespace

std::vector<QuantizePlan::Phase> estimate_phases(const WorkInputs& in, const WorkRates& rates) {
  return Estimate(in, rates).run();
}

}  // namespace squint::quantize
