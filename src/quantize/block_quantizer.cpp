#include "quantize/block_quantizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/check.h"
#include "core/packed_int.h"
#include "io/compressed_tensors.h"
#include "ops/copies.h"
#include "quantize/clip.h"
#include "quantize/gptq.h"
#include "quantize/smoothed_block.h"

namespace squint::quantize {

using qwen3_vl::DecoderBlock;
using qwen3_vl::DecoderBlockWeights;
using qwen3_vl::LinearRole;
using qwen3_vl::NormRole;
using qwen3_vl::SmoothGroup;

namespace {

const Tensor& dense(const LinearWeight& weight) { return std::get<Tensor>(weight.weight); }

// ŵ / columns * rows - stored: how far the layer is from what it was, smoothing undone. value(i) is
// element i of ŵ.
template <class Value>
Tensor remaining_error(Context& cx, const Value& value, const Tensor& stored,
                       const SmoothedBlock& block, LinearRole role) {
  const auto in = static_cast<size_t>(stored.dim(1));
  const std::span<const bf16> original = stored.span<bf16>();
  const std::vector<float>& column_factors = block.columns(role);
  const std::vector<float>& row_factors = block.rows(role);
  Tensor error = Tensor::on_host(DType::f32, stored.shape());
  const std::span<float> out = error.span<float>();
  const auto of_row = [&](size_t row) {
    for (size_t c = 0; c < in; ++c) {
      const size_t i = row * in + c;
      float w = value(i);
      if (!column_factors.empty()) w /= column_factors[c];
      if (!row_factors.empty()) w *= row_factors[row];
      out[i] = w - to_float(original[i]);
    }
  };
  cx.backend.host_threads().parallel_for(stored.dim(0), 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t row = begin; row < end; ++row) of_row(static_cast<size_t>(row));
  });
  return error;
}

// ‖error‖² of the layer's outputs, or of its weights where there are no statistics.
double squared_error(Context& cx, const Tensor& error, const InputStatistics* input) {
  return input != nullptr ? input->output_error(cx, error) : ops::dot(cx, error, error);
}

double relative_error(double lost, double whole) {
  return whole > 0 ? std::sqrt(std::max(lost, 0.0) / whole) : 0;
}

void count_scales(const Tensor& scales, ScaleHistogram& histogram) {
  std::vector<int64_t> counts(1 << 16);  // by bits: logarithms of millions of scales take a while
  for (const bf16 scale : scales.span<const bf16>()) ++counts[scale.bits];
  for (uint32_t bits = 0; bits < counts.size(); ++bits) {
    const float scale = std::abs(to_float(bf16{static_cast<uint16_t>(bits)}));
    if (counts[bits] == 0 || !(scale > 0)) continue;
    histogram[static_cast<int>(std::floor(2 * std::log2(scale)))] += counts[bits];
  }
}

class BlockQuantizer {
 public:
  BlockQuantizer(Context& cx, const DecoderBlockWeights& stored, const qwen3_vl::TextConfig& config,
                 int64_t layer, const BlockPlan& plan, const BlockObserver* observer)
      : cx_(cx),
        stored_(stored),
        config_(config),
        layer_(layer),
        plan_(plan),
        observer_(observer),
        smoothed_(stored) {}

  QuantizedBlock run(const PairedInputs& inputs) {
    if (plan_.smooth) {
      out_.smoothing = smooth_block(cx_, stored_, layer_,
                                    {.groups = groups(),
                                     .schemes = plan_.schemes,
                                     .duo = plan_.duo,
                                     .grid = plan_.grid,
                                     .on_candidate = plan_.on_candidate},
                                    *observer_, smoothed_);
      roll_back_worse();
    }
    if (plan_.feedback) {
      round_in_stages(inputs);
    } else {
      for (const LinearRole role : qwen3_vl::kAllLinears) {
        if (plan_.schemes[role]) {
          finish(role, rounded_alone(role, smoothed_));
        } else {
          keep(role);
        }
      }
    }
    for (const NormRole role : qwen3_vl::kAllNorms) {
      out_.tensors.push_back(
          {qwen3_vl::norm_name(layer_, role), round_to_bf16(smoothed_.norm(role))});
    }
    return std::move(out_);
  }

 private:
  const std::vector<SmoothGroup>& groups() const {
    return plan_.groups.at(static_cast<size_t>(layer_));
  }

  const InputStatistics* statistics(LinearRole role) const {
    return observer_ != nullptr ? &observer_->of(role) : nullptr;
  }

  const QuantizationScheme& scheme(LinearRole role) const { return plan_.schemes[role].value(); }

  // The stored weight, where the backend computes.
  const Tensor& there(LinearRole role) {
    Tensor& weight = there_[static_cast<size_t>(role)];
    if (weight.empty()) weight = on_device(cx_, dense(stored_[role]));
    return weight;
  }

  // Squared error of the outputs of a layer that `q` stands for.
  double restored_loss(LinearRole role, const QuantizedWeight& q, const SmoothedBlock& block) {
    const Arena::Scope scope(cx_.scratch);
    const Tensor error = cx_.scratch.tensor(there(role).shape());
    ops::restored_error(cx_, q, factors_tensor(block.columns(role)),
                        factors_tensor(block.rows(role)), there(role), error);
    return squared_error(cx_, error, statistics(role));
  }

  // Of the outputs themselves: what is lost where every weight becomes 0.
  double whole_outputs(LinearRole role, const QuantizedWeight& q) {
    QuantizedWeight nothing = q;
    nothing.scales = Tensor::on_host(DType::bf16, q.scales.shape());
    std::ranges::fill(nothing.scales.span<bf16>(), to_bf16(0.0f));
    return restored_loss(role, nothing, SmoothedBlock(stored_));
  }

  // Where the backend computes.
  QuantizedWeight empty(LinearRole role) {
    const Shape& shape = there(role).shape();
    const Shape groups({shape[0], scheme(role).groups(shape[1])});
    const auto room = [&](DType dtype, const Shape& of) {
      return Tensor(cx_.backend.allocate(of.numel() * byte_size(dtype)), 0, dtype, of);
    };
    return {room(DType::i8, shape), room(DType::bf16, groups), room(DType::i8, groups)};
  }

  QuantizedWeight fetched(const QuantizedWeight& q) {
    return {on_host(cx_, q.codes), on_host(cx_, q.scales), on_host(cx_, q.zero_points)};
  }

  QuantizedWeight rounded_alone(LinearRole role, const SmoothedBlock& block) {
    if (plan_.clipped_ranges) {
      plan_.on_candidate();
      const Tensor& weight = dense(stored_[role]);
      const QuantizedWeight q =
          QuantizedWeight::on_host(weight.dim(0), weight.dim(1), scheme(role));
      round_clipped(cx_, on_host(cx_, block.linear(cx_, role, there(role))), *statistics(role),
                    block.columns(role), scheme(role), q);
      return q;
    }
    QuantizedWeight q = empty(role);
    if (!plan_.weighted_ranges) {
      ops::quantize_weight(cx_, block.rounded(cx_, role, there(role)), scheme(role), plan_.observer,
                           q);
      return q;
    }
    AdaptiveRounding how;
    how.importance =
        Tensor::copy_of<float>(statistics(role)->square_mean(), {dense(stored_[role]).dim(1)});
    const std::vector<float>& columns = block.columns(role);
    for (size_t i = 0; i < columns.size(); ++i) {
      how.importance.span<float>()[i] /= columns[i] * columns[i];
    }
    ops::round_adaptively(cx_, block.linear(cx_, role, there(role)), how, scheme(role), q);
    return q;
  }

  // Squared error of the outputs of the layers that `group` rescales, rounded as they will be;
  // infinite where a scale is outside of what float16 holds, in which some loaders keep scales.
  double rounded_error(const SmoothGroup& group, const SmoothedBlock& block) {
    constexpr float kLeast = 0x1p-24f;
    constexpr float kMost = 65504;
    std::vector<LinearRole> changed = group.sinks;
    if (!group.source_is_norm) changed.push_back(group.linear);
    double total = 0;
    for (const LinearRole role : changed) {
      plan_.on_candidate();
      if (!plan_.schemes[role]) {
        total += statistics(role)->output_error(cx_, bf16_error(role, block));
        continue;
      }
      const QuantizedWeight q = rounded_alone(role, block);
      const Tensor scales = on_host(cx_, q.scales);
      for (const bf16 scale : scales.span<bf16>()) {
        if (std::abs(to_float(scale)) < kLeast || std::abs(to_float(scale)) > kMost) {
          return std::numeric_limits<double>::infinity();
        }
      }
      total += restored_loss(role, q, block);
    }
    return total;
  }

  // The search rounds by minmax; what counts is the rounding that follows. Groups that are further
  // off with it than without smoothing are left as they were.
  void roll_back_worse() {
    const std::vector<SmoothGroup>& groups = this->groups();
    const SmoothedBlock plain(stored_);
    SmoothedBlock kept(stored_);
    for (size_t i = 0; i < groups.size(); ++i) {
      SmoothingReport& report = out_.smoothing[i];
      SmoothedBlock alone(stored_);
      const std::vector<float>& factors = smoothed_.columns(groups[i].sinks.front());
      alone.apply(groups[i], factors);
      const bool changed = report.ratio != 0 || report.duo;
      report.rolled_back =
          changed && rounded_error(groups[i], alone) > rounded_error(groups[i], plain);
      if (!report.rolled_back) kept.apply(groups[i], factors);
    }
    smoothed_ = std::move(kept);
  }

  // Layers that share an input together, in the order of the forward pass: each stage sees what the
  // stages before it have become.
  void round_in_stages(const PairedInputs& inputs) {
    DecoderBlockWeights current = stored_;
    for (const NormRole role : qwen3_vl::kAllNorms) {
      current[role] = round_to_bf16(smoothed_.norm(role));
    }
    for (const LinearUnit& stage : linear_units()) {
      plan_.on_candidate();
      const LinearRole first = stage.front();
      if (!plan_.schemes[first]) {
        for (const LinearRole role : stage) current[role].weight = keep(role);
        continue;
      }
      std::vector<Share> shares = shares_of(stage);
      std::vector<PairStatistics> pairs;
      for (const Share& share : shares) {
        pairs.emplace_back(cx_.backend, dense(stored_[first]).dim(1), share.tokens);
      }
      {
        const DecoderBlock block(current, config_, layer_, cx_.backend);
        inputs(block, first, pairs);
      }
      for (size_t i = 0; i < shares.size(); ++i) {
        pairs[i].finish(cx_, smoothed_.columns(first), qwen3_vl::module_name(layer_, first));
        for (const auto& [role, q] : rounded_with_feedback(shares[i].roles, std::move(pairs[i]))) {
          current[role].weight = finish(role, q);
        }
      }
    }
  }

  // Linear layers with one input in which tokens count alike.
  struct Share {
    ClassWeights tokens;
    std::vector<LinearRole> roles;
  };

  std::vector<Share> shares_of(const LinearUnit& stage) const {
    std::vector<Share> shares;
    for (const LinearRole role : stage) {
      const ClassWeights& tokens = plan_.feedback->tokens[static_cast<size_t>(role)];
      auto at = std::ranges::find(shares, tokens, &Share::tokens);
      if (at == shares.end()) at = shares.insert(at, {tokens, {}});
      at->roles.push_back(role);
    }
    return shares;
  }

  std::vector<std::pair<LinearRole, QuantizedWeight>> rounded_with_feedback(
      const std::vector<LinearRole>& roles, PairStatistics pair) {
    const FeedbackPlan& feedback = *plan_.feedback;
    std::vector<Tensor> targets;
    for (const LinearRole role : roles) targets.push_back(smoothed_.linear(cx_, role, there(role)));
    if (feedback.propagation > 0) {
      const std::vector<Tensor> weights = std::move(targets);
      targets = pair.times_cross(cx_, weights);
      propagate(cx_, pair.hessian(), weights, targets, feedback.propagation, plan_.on_candidate);
    }
    AdaptiveRounding how = adaptive_rounding(cx_, pair.take_hessian(), feedback.damping,
                                             feedback.rounds, plan_.on_candidate);
    how.search = plan_.weighted_ranges || plan_.observer == Observer::mse;
    if (!plan_.weighted_ranges) std::ranges::fill(how.importance.span<float>(), 1.0f);
    std::vector<std::pair<LinearRole, QuantizedWeight>> out;
    for (size_t i = 0; i < roles.size(); ++i) {
      plan_.on_candidate();
      out.emplace_back(roles[i], empty(roles[i]));
      ops::round_adaptively(cx_, targets[i], how, scheme(roles[i]), out.back().second);
      targets[i] = {};
    }
    return out;
  }

  // Of a layer that stays in BF16: nothing, unless smoothing rescales its rows.
  Tensor bf16_error(LinearRole role, const SmoothedBlock& block) {
    const Tensor weight = on_host(cx_, block.rounded(cx_, role, there(role)));
    const std::span<const bf16> values = weight.span<bf16>();
    const auto value = [&](size_t i) { return to_float(values[i]); };
    return remaining_error(cx_, value, dense(stored_[role]), block, role);
  }

  Tensor keep(LinearRole role) {
    const std::string module = qwen3_vl::module_name(layer_, role);
    const Tensor weight = on_host(cx_, smoothed_.rounded(cx_, role, there(role)));
    out_.tensors.push_back({module + ".weight", weight});
    const double whole = squared_error(cx_, to_f32(dense(stored_[role])), statistics(role));
    const double lost = squared_error(cx_, bf16_error(role, smoothed_), statistics(role));
    out_.linears.push_back({.module = module, .error = relative_error(lost, whole), .bits = 16});
    return weight;
  }

  double plain_loss(LinearRole role) {
    QuantizationScheme others = scheme(role);
    others.signed_scales = false;  // as others round
    const Arena::Scope scope(cx_.scratch);
    const Tensor error = cx_.scratch.tensor(there(role).shape());
    ops::quantization_error(cx_, there(role), {}, others, error);
    return squared_error(cx_, error, statistics(role));
  }

  PackedLinear finish(LinearRole role, const QuantizedWeight& q) {
    const std::string module = qwen3_vl::module_name(layer_, role);
    const QuantizedWeight host = fetched(q);
    PackedLinear packed = pack_linear(host, scheme(role), &cx_.backend.host_threads());
    io::append_packed_linear(out_.tensors, module, packed);
    count_scales(host.scales, out_.scales);
    plan_.on_candidate();
    const double whole = whole_outputs(role, q);
    plan_.on_candidate();
    const double plain = plain_loss(role);
    plan_.on_candidate();
    const double lost = restored_loss(role, q, smoothed_);
    out_.linears.push_back({.module = module,
                            .error = relative_error(lost, whole),
                            .plain_error = relative_error(plain, whole),
                            .bits = scheme(role).bits});
    return packed;
  }

  Context& cx_;
  const DecoderBlockWeights& stored_;
  const qwen3_vl::TextConfig& config_;
  int64_t layer_;
  const BlockPlan& plan_;
  const BlockObserver* observer_;
  SmoothedBlock smoothed_;
  std::array<Tensor, qwen3_vl::kLinearRoles> there_;
  QuantizedBlock out_;
};

// Finite weights can be so large that sums over them are not. What could not be measured is not
// written.
void expect_measured(const QuantizedBlock& block) {
  const auto refuse = [](const std::string& what) {
    throw Error(ErrorCode::bad_input,
                fmt::format("{}: the error of its outputs is not finite; are its weights sensible, "
                            "or is the file damaged?",
                            what));
  };
  for (const LinearReport& l : block.linears) {
    if (!std::isfinite(l.error) || !std::isfinite(l.plain_error)) refuse(l.module);
  }
  for (const SmoothingReport& s : block.smoothing) {
    if (!std::isfinite(s.loss) || !std::isfinite(s.identity_loss)) {
      refuse(fmt::format("layer {}, {}", s.layer, s.group));
    }
  }
}

}  // namespace

QuantizedBlock quantize_block(Context& cx, const DecoderBlockWeights& stored,
                              const qwen3_vl::TextConfig& config, int64_t layer,
                              const BlockPlan& plan, const BlockObserver* observer,
                              const PairedInputs& inputs) {
  SQUINT_CHECK(observer != nullptr ||
               !(plan.smooth || plan.weighted_ranges || plan.clipped_ranges));
  SQUINT_CHECK(!plan.feedback || inputs != nullptr);
  QuantizedBlock out = BlockQuantizer(cx, stored, config, layer, plan, observer).run(inputs);
  expect_measured(out);
  // Bin 32 begins at 65536; bf16 has nothing between that and float16's largest number.
  if (!out.scales.empty() && out.scales.rbegin()->first >= 32) {
    throw Error(ErrorCode::bad_input,
                fmt::format("layer {}: weights are so large that their scales overflow float16, in "
                            "which some loaders keep scales; is the file damaged?",
                            layer));
  }
  return out;
}

}  // namespace squint::quantize
