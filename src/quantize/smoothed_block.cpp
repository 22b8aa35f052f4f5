#include "quantize/smoothed_block.h"

#include <cmath>

#include "ops/copies.h"

namespace squint::quantize {

using qwen3_vl::DecoderBlockWeights;
using qwen3_vl::LinearRole;
using qwen3_vl::NormRole;
using qwen3_vl::SmoothGroup;

namespace {

const Tensor& dense(const LinearWeight& weight) { return std::get<Tensor>(weight.weight); }

}  // namespace

SmoothedBlock::SmoothedBlock(const DecoderBlockWeights& stored) : stored_(&stored) {
  for (const NormRole role : qwen3_vl::kAllNorms) {
    norms_[static_cast<size_t>(role)] = to_f32(stored[role]);
  }
}

// A norm is stored in bf16. Taking the sinks' factor from what was stored, not from what was
// wanted, makes the change exact.
void SmoothedBlock::divide_norm(std::span<float> weight, std::span<float> scale) const {
  for (size_t i = 0; i < scale.size(); ++i) {
    const float divided = round_to_bf16(weight[i] / scale[i]);
    if (divided != 0 && std::isfinite(divided)) {
      scale[i] = weight[i] / divided;
      weight[i] = divided;
    } else {
      scale[i] = 1;
    }
  }
}

void SmoothedBlock::apply(const SmoothGroup& group, std::vector<float> scale) {
  if (group.source_is_norm) {
    divide_norm(norms_[static_cast<size_t>(group.norm)].span<float>(), scale);
  } else {
    rows_[static_cast<size_t>(group.linear)] = scale;
  }
  for (const LinearRole sink : group.sinks) columns_[static_cast<size_t>(sink)] = scale;
}

Tensor factors_tensor(const std::vector<float>& values) {
  if (values.empty()) return {};
  return Tensor::copy_of<float>(values, {static_cast<int64_t>(values.size())});
}

Tensor SmoothedBlock::linear(Context& cx, LinearRole role, const Tensor& stored) const {
  const int64_t bytes = stored.numel() * byte_size(DType::f32);
  Tensor out(cx.backend.allocate(bytes), 0, DType::f32, stored.shape());
  ops::scale_weight(cx, stored, factors_tensor(columns(role)), factors_tensor(rows(role)), out);
  return out;
}

// The stored one itself where nothing changed.
Tensor SmoothedBlock::rounded(Context& cx, LinearRole role, const Tensor& stored) const {
  if (columns(role).empty() && rows(role).empty()) return stored;
  Tensor out(cx.backend.allocate(stored.bytes()), 0, DType::bf16, stored.shape());
  ops::scale_weight(cx, stored, factors_tensor(columns(role)), factors_tensor(rows(role)), out);
  return out;
}

namespace {

Tensor in_scratch(Context& cx, std::span<const float> values) {
  const Tensor host = Tensor::copy_of<float>(values, {static_cast<int64_t>(values.size())});
  Tensor out = cx.scratch.tensor(host.shape());
  cx.backend.copy(host, out);
  return out;
}

// Mean squared error of the outputs of all sinks when their columns are scaled before rounding.
double smoothing_loss(Context& cx, std::span<const Tensor> weights,
                      const QuantizationScheme& scheme, const InputStatistics& input,
                      std::span<const float> scale) {
  const Arena::Scope scope(cx.scratch);
  const Tensor smooth = in_scratch(cx, scale);
  double total = 0;
  int64_t outputs = 0;
  for (const Tensor& weight : weights) {
    const Arena::Scope sink_scope(cx.scratch);
    const Tensor error = cx.scratch.tensor(weight.shape());
    ops::quantization_error(cx, weight, smooth, scheme, error);
    total += input.output_error(cx, error);
    outputs += weight.dim(0);
  }
  return total / static_cast<double>(outputs);
}

SmoothingReport smooth_group(Context& cx, const DecoderBlockWeights& stored, int64_t layer,
                             const SmoothGroup& group, const SmoothingPlan& plan,
                             const InputStatistics& input, SmoothedBlock& block) {
  const std::optional<QuantizationScheme>& scheme = plan.schemes[group.sinks.front()];
  if (!scheme) return {.layer = layer, .group = std::string(group.name)};
  std::vector<Tensor> matrices;
  for (const LinearRole sink : group.sinks) matrices.push_back(dense(stored[sink]));
  const std::vector<double> weight_mean =
      weight_means(matrices, *scheme, cx.backend.host_threads());
  std::vector<Tensor> there;
  for (const Tensor& matrix : matrices) there.push_back(on_device(cx, matrix));
  Smoothing best = best_smoothing(input.abs_mean(), weight_mean, candidates(plan.duo, plan.grid),
                                  [&](std::span<const float> factors) {
                                    plan.on_candidate();
                                    return smoothing_loss(cx, there, *scheme, input, factors);
                                  });
  block.apply(group, std::move(best.scale));
  return {.layer = layer,
          .group = std::string(group.name),
          .ratio = best.candidate.ratio,
          .duo = best.candidate.duo,
          .loss = best.loss,
          .identity_loss = best.identity_loss};
}

}  // namespace

std::vector<SmoothingReport> smooth_block(Context& cx, const DecoderBlockWeights& stored,
                                          int64_t layer, const SmoothingPlan& plan,
                                          const BlockObserver& observer, SmoothedBlock& block) {
  std::vector<SmoothingReport> reports;
  for (const SmoothGroup& group : plan.groups) {
    reports.push_back(
        smooth_group(cx, stored, layer, group, plan, observer.of(group.sinks.front()), block));
  }
  return reports;
}

}  // namespace squint::quantize
