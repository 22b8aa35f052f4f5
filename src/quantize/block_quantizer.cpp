#include "quantize/block_quantizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "core/packed_int.h"
#include "io/compressed_tensors.h"

namespace squint::quantize {

using qwen3_vl::DecoderBlockWeights;
using qwen3_vl::LinearRole;
using qwen3_vl::NormRole;
using qwen3_vl::SmoothGroup;

namespace {

const Tensor& dense(const LinearWeight& weight) { return std::get<Tensor>(weight.weight); }

// The weights of a block while they are being rescaled: products are kept in float32 and rounded to
// bf16 once, at the end.
class SmoothedBlock {
 public:
  SmoothedBlock(const DecoderBlockWeights& stored) {
    for (const LinearRole role : qwen3_vl::kAllLinears) linear(role) = to_f32(dense(stored[role]));
    for (const NormRole role : qwen3_vl::kAllNorms) norm(role) = to_f32(stored[role]);
  }

  Tensor& linear(LinearRole role) { return linears_[static_cast<size_t>(role)]; }
  Tensor& norm(NormRole role) { return norms_[static_cast<size_t>(role)]; }
  // Factors by which the columns of a linear layer have been multiplied; empty for none.
  const std::vector<float>& columns(LinearRole role) const {
    return columns_[static_cast<size_t>(role)];
  }
  const std::vector<float>& rows(LinearRole role) const { return rows_[static_cast<size_t>(role)]; }

  void apply(const SmoothGroup& group, std::vector<float> scale) {
    if (group.source_is_norm) {
      // A norm is stored in bf16. Taking the sinks' factor from what was stored, not from what was
      // wanted, makes the change exact.
      const std::span<float> weight = norm(group.norm).span<float>();
      for (size_t i = 0; i < scale.size(); ++i) {
        const float divided = round_to_bf16(weight[i] / scale[i]);
        if (divided != 0 && std::isfinite(divided)) {
          scale[i] = weight[i] / divided;
          weight[i] = divided;
        } else {
          scale[i] = 1;
        }
      }
    } else {
      const Tensor& source = linear(group.linear);
      const int64_t in = source.dim(1);
      for (int64_t row = 0; row < source.dim(0); ++row) {
        for (float& w :
             source.span<float>().subspan(static_cast<size_t>(row * in), static_cast<size_t>(in))) {
          w /= scale[static_cast<size_t>(row)];
        }
      }
      rows_[static_cast<size_t>(group.linear)] = scale;
    }
    for (const LinearRole sink : group.sinks) {
      const std::span<float> weight = linear(sink).span<float>();
      for (size_t i = 0; i < weight.size(); ++i) weight[i] *= scale[i % scale.size()];
      columns_[static_cast<size_t>(sink)] = scale;
    }
  }

 private:
  std::array<Tensor, qwen3_vl::kLinearRoles> linears_;
  std::array<Tensor, qwen3_vl::kNormRoles> norms_;
  std::array<std::vector<float>, qwen3_vl::kLinearRoles> columns_;
  std::array<std::vector<float>, qwen3_vl::kLinearRoles> rows_;
};

Tensor in_scratch(Context& cx, std::span<const float> values) {
  const Tensor host = Tensor::copy_of<float>(values, {static_cast<int64_t>(values.size())});
  Tensor out = cx.scratch.tensor(host.shape());
  cx.backend.copy(host, out);
  return out;
}

// Mean squared error of the outputs of all sinks when their columns are scaled before rounding.
double smoothing_loss(Context& cx, const DecoderBlockWeights& stored, const SmoothGroup& group,
                      const BlockPlan& plan, const InputStatistics& input,
                      std::span<const float> scale) {
  const Arena::Scope scope(cx.scratch);
  const Tensor smooth = in_scratch(cx, scale);
  double total = 0;
  int64_t outputs = 0;
  for (const LinearRole sink : group.sinks) {
    const Arena::Scope sink_scope(cx.scratch);
    const Tensor& weight = dense(stored[sink]);
    const Tensor error = cx.scratch.tensor(weight.shape());
    ops::quantization_error(cx, weight, smooth, plan.scheme, error);
    total += input.output_error(cx, error);
    outputs += weight.dim(0);
  }
  return total / static_cast<double>(outputs);
}

SmoothingReport smooth_group(Context& cx, const DecoderBlockWeights& stored, int64_t layer,
                             const SmoothGroup& group, const BlockPlan& plan,
                             const InputStatistics& input, SmoothedBlock& block) {
  std::vector<Tensor> matrices;
  for (const LinearRole sink : group.sinks) matrices.push_back(dense(stored[sink]));
  const std::vector<double> weight_mean =
      weight_means(matrices, plan.scheme, cx.backend.host_threads());
  Smoothing best = best_smoothing(input.abs_mean(), weight_mean, candidates(plan.duo, plan.grid),
                                  [&](std::span<const float> scale) {
                                    plan.on_candidate();
                                    return smoothing_loss(cx, stored, group, plan, input, scale);
                                  });
  block.apply(group, std::move(best.scale));
  return {.layer = layer,
          .group = std::string(group.name),
          .ratio = best.candidate.ratio,
          .duo = best.candidate.duo,
          .loss = best.loss,
          .identity_loss = best.identity_loss};
}

// ŵ / columns * rows - stored: how far the layer is from what it was, smoothing undone.
Tensor remaining_error(const QuantizedWeight& q, const QuantizationScheme& scheme,
                       const Tensor& stored, const SmoothedBlock& block, LinearRole role) {
  const int64_t in = stored.dim(1);
  const int64_t columns = scheme.group_columns(in);
  const Tensor original = to_f32(stored);
  Tensor error = Tensor::on_host(DType::f32, stored.shape());
  for (int64_t i = 0; i < stored.numel(); ++i) {
    const int64_t group = i / columns;
    const int code = q.codes.span<int8_t>()[i] - q.zero_points.span<int8_t>()[group];
    float w = static_cast<float>(code) * to_float(q.scales.span<bf16>()[group]);
    if (!block.columns(role).empty()) w /= block.columns(role)[i % in];
    if (!block.rows(role).empty()) w *= block.rows(role)[i / in];
    error.span<float>()[i] = w - original.span<float>()[i];
  }
  return error;
}

// ‖error‖ / ‖weight‖ of the layer's outputs, or of its weights where there are no statistics.
double relative_error(Context& cx, const Tensor& error, const Tensor& weight,
                      const InputStatistics* input) {
  const double lost =
      input != nullptr ? input->output_error(cx, error) : ops::dot(cx, error, error);
  const double whole =
      input != nullptr ? input->output_error(cx, weight) : ops::dot(cx, weight, weight);
  return whole > 0 ? std::sqrt(std::max(lost, 0.0) / whole) : 0;
}

LinearReport quantize_linear(Context& cx, const Tensor& stored, int64_t layer, LinearRole role,
                             const BlockPlan& plan, const InputStatistics* input,
                             SmoothedBlock& block, std::vector<io::NamedTensor>& tensors) {
  const std::string module = qwen3_vl::module_name(layer, role);
  const Tensor weight = round_to_bf16(block.linear(role));
  const QuantizedWeight q = QuantizedWeight::on_host(weight.dim(0), weight.dim(1), plan.scheme);
  ops::quantize_weight(cx, weight, plan.scheme, plan.observer, q);
  io::append_packed_linear(tensors, module, pack_linear(q, plan.scheme));

  const Tensor original = to_f32(stored);
  const Tensor plain = Tensor::on_host(DType::f32, stored.shape());
  ops::quantization_error(cx, stored, {}, plan.scheme, plain);
  return {.module = module,
          .error = relative_error(cx, remaining_error(q, plan.scheme, stored, block, role),
                                  original, input),
          .plain_error = relative_error(cx, plain, original, input)};
}

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
                              const BlockPlan& plan, const BlockObserver* observer) {
  SQUINT_CHECK(observer != nullptr || !plan.smooth);
  QuantizedBlock out;
  SmoothedBlock block(stored);
  if (plan.smooth) {
    for (const SmoothGroup& group : qwen3_vl::smooth_groups(config)) {
      out.smoothing.push_back(
          smooth_group(cx, stored, layer, group, plan, observer->of(group.sinks.front()), block));
    }
  }
  for (const LinearRole role : qwen3_vl::kAllLinears) {
    const InputStatistics* input = observer != nullptr ? &observer->of(role) : nullptr;
    out.linears.push_back(
        quantize_linear(cx, dense(stored[role]), layer, role, plan, input, block, out.tensors));
  }
  for (const NormRole role : qwen3_vl::kAllNorms) {
    out.tensors.push_back({qwen3_vl::norm_name(layer, role), round_to_bf16(block.norm(role))});
  }
  expect_measured(out);
  return out;
}

}  // namespace squint::quantize
