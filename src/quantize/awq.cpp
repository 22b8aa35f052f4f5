#include "quantize/awq.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/check.h"

namespace squint::quantize {
namespace {

constexpr double kSmallestScale = 1e-4;

}  // namespace

int smallest_grid(DuoScaling duo) {
  return duo == DuoScaling::off ? 2 : duo == DuoScaling::on ? 3 : 4;
}

std::vector<Candidate> candidates(DuoScaling duo, int grid) {
  SQUINT_CHECK(grid >= smallest_grid(duo));
  std::vector<Candidate> out;
  if (duo == DuoScaling::on) {
    out.push_back({0, false});
    for (int i = 0; i <= grid - 2; ++i) out.push_back({static_cast<double>(i) / (grid - 2), true});
  } else if (duo == DuoScaling::off) {
    for (int i = 0; i < grid; ++i) out.push_back({static_cast<double>(i) / (grid - 1), false});
  } else {
    const int half = grid / 2;
    for (int i = 0; i < half; ++i) {
      const double ratio = static_cast<double>(i) / (half - 1);
      out.push_back({ratio, false});
      out.push_back({ratio, true});
    }
  }
  return out;
}

std::vector<double> weight_means(std::span<const Tensor> matrices, const QuantizationScheme& scheme,
                                 ThreadPool& threads) {
  SQUINT_CHECK(!matrices.empty());
  const int64_t in = matrices.front().dim(1);
  const int64_t columns = scheme.group_columns(in);
  std::vector<double> means(static_cast<size_t>(in), 0.0);
  int64_t rows = 0;
  for (const Tensor& matrix : matrices) {
    SQUINT_CHECK(matrix.dim(1) == in);
    rows += matrix.dim(0);
    // Workers take columns, so that every sum runs over the rows in order.
    threads.parallel_for(in / columns, 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t row = 0; row < matrix.dim(0); ++row) {
        const bf16* w = matrix.span<const bf16>().data() + row * in;
        for (int64_t at = begin * columns; at < end * columns; at += columns) {
          float largest = 0;
          for (int64_t i = at; i < at + columns; ++i) {
            largest = std::max(largest, std::abs(to_float(w[i])));
          }
          const float divisor = round_to_bf16(largest + 1e-6f);
          for (int64_t i = at; i < at + columns; ++i) {
            means[i] += round_to_bf16(std::abs(to_float(w[i])) / divisor);
          }
        }
      }
    });
  }
  for (double& mean : means) mean /= static_cast<double>(rows);
  return means;
}

std::vector<float> smoothing_scale(std::span<const float> activation_mean,
                                   std::span<const double> weight_mean,
                                   const Candidate& candidate) {
  std::vector<double> scale(activation_mean.size());
  const auto dead = [&](size_t i) {
    return activation_mean[i] == 0 || (candidate.duo && weight_mean[i] == 0);
  };
  double least = std::numeric_limits<double>::infinity();
  double most = 0;
  for (size_t i = 0; i < scale.size(); ++i) {
    scale[i] = std::pow(activation_mean[i], static_cast<float>(candidate.ratio));
    if (candidate.duo) scale[i] /= std::pow(weight_mean[i], 1 - candidate.ratio) + 1e-4;
    scale[i] = std::max(scale[i], kSmallestScale);
    if (dead(i)) continue;
    least = std::min(least, scale[i]);
    most = std::max(most, scale[i]);
  }
  const double middle = std::sqrt(least * most);
  std::vector<float> out(scale.size());
  for (size_t i = 0; i < out.size(); ++i) {
    const auto normal = static_cast<float>(scale[i] / middle);
    out[i] = !dead(i) && std::isfinite(normal) ? normal : 1.0f;
  }
  return out;
}

Smoothing best_smoothing(std::span<const float> activation_mean,
                         std::span<const double> weight_mean, std::span<const Candidate> candidates,
                         const SmoothingLoss& loss) {
  Smoothing best;
  best.loss = std::numeric_limits<double>::infinity();
  for (const Candidate& candidate : candidates) {
    std::vector<float> scale = smoothing_scale(activation_mean, weight_mean, candidate);
    const double value = loss(scale);
    if (candidate.ratio == 0 && !candidate.duo) best.identity_loss = value;
    if (value < best.loss) {
      best.candidate = candidate;
      best.scale = std::move(scale);
      best.loss = value;
    }
  }
  if (best.scale.empty()) {
    throw Error(ErrorCode::bad_input,
                "no smoothing factor gives a finite error: the activations "
                "overflow; is a calibration row degenerate?");
  }
  return best;
}

}  // namespace squint::quantize
