// rounding_benchmark.cpp: rounding with feedback and two rounds of descent (GPTQ and what follows).
//
// Per weight the job needs in / 2 multiplications for feedback and 3 in for each round of descent:
// the residual, the scales and the integers. Before anything is timed, the error of the outputs is
// compared with that of plain rounding.
#include <benchmark/benchmark.h>

#include <algorithm>

#include "base/random.h"
#include "ops/context.h"
#include "ops/ops.h"
#include "quantize/gptq.h"
#include "squint/backend.h"

namespace squint {
namespace {

constexpr int kRounds = 2;

// Of inputs that all have a part in common.
Tensor shared_moments(int64_t in) {
  Tensor h = Tensor::on_host(DType::f32, {in, in});
  for (int64_t i = 0; i < in; ++i) {
    for (int64_t j = 0; j < in; ++j) h.span<float>()[i * in + j] = i == j ? 1.0f : 0.3f;
  }
  return h;
}

// tr(E H Eᵀ) of H as above, of some rows.
double output_error(const Tensor& weight, const QuantizedWeight& q,
                    const QuantizationScheme& scheme) {
  const int64_t in = weight.dim(1);
  double total = 0;
  for (int64_t row = 0; row < std::min<int64_t>(16, weight.dim(0)); ++row) {
    double squares = 0;
    double sum = 0;
    for (int64_t i = 0; i < in; ++i) {
      const int64_t group = row * scheme.groups(in) + i / scheme.group_columns(in);
      const double e =
          weight.span<float>()[row * in + i] -
          q.codes.span<int8_t>()[row * in + i] * to_float(q.scales.span<bf16>()[group]);
      squares += e * e;
      sum += e;
    }
    total += 0.7 * squares + 0.3 * sum * sum;
  }
  return total;
}

void round_adaptively(benchmark::State& state) {
  const int64_t rows = state.range(0);
  const int64_t in = state.range(1);
  const BackendPtr backend = open_backend({.name = "cpu"});
  Arena scratch(*backend);
  Context cx{.backend = *backend, .scratch = scratch};
  const QuantizationScheme scheme{.bits = 4, .group_size = 128, .symmetric = true};
  Random random(1);
  const Tensor weight = Tensor::on_host(DType::f32, {rows, in});
  for (float& w : weight.span<float>()) w = static_cast<float>(random.uniform() - 0.5);
  const AdaptiveRounding how =
      quantize::adaptive_rounding(cx, shared_moments(in), {}, kRounds, [] {});
  AdaptiveRounding alone;
  alone.importance = how.importance;
  const QuantizedWeight plain = QuantizedWeight::on_host(rows, in, scheme);
  const QuantizedWeight rounded = QuantizedWeight::on_host(rows, in, scheme);
  ops::round_adaptively(cx, weight, alone, scheme, plain);
  ops::round_adaptively(cx, weight, how, scheme, rounded);
  if (!(output_error(weight, rounded, scheme) < output_error(weight, plain, scheme))) {
    return state.SkipWithError("further from the weights than plain rounding");
  }
  for ([[maybe_unused]] auto _ : state) {
    ops::round_adaptively(cx, weight, how, scheme, rounded);
  }
  const double products = static_cast<double>(rows * in * in) * (0.5 + 3 * kRounds);
  state.counters["GFLOP"] =
      benchmark::Counter(2e-9 * products, benchmark::Counter::kIsIterationInvariantRate);
}

BENCHMARK(round_adaptively)
    ->ArgNames({"rows", "in"})
    ->Args({1152, 384})
    ->Args({512, 4096})
    ->Args({256, 12288})
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime();

}  // namespace
}  // namespace squint

BENCHMARK_MAIN();
