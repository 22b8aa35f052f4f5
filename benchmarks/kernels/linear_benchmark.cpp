// linear_benchmark.cpp: y = x Wᵀ of the cpu backend, beside what memory gives.
//
// Before anything is timed, the result of each case is checked against the reference backend. For T
// rows the job needs 2 T in out operations and one read of the weight, both printed as rates. The
// bandwidth they compete with is measured in the same run: one pass over memory larger than caches.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <chrono>
#include <cmath>
#include <cstdlib>

#include "base/random.h"
#include "core/packed_int.h"
#include "ops/ops.h"
#include "squint/backend.h"

namespace squint {
namespace {

enum class Format { bf16, int4 };

Tensor random_floats(const Shape& shape, uint64_t seed) {
  Random random(seed);
  Tensor out = Tensor::on_host(DType::f32, shape);
  for (float& x : out.span<float>()) x = static_cast<float>(random.uniform() * 2 - 1);
  return out;
}

LinearWeight make_weight(Context& cx, int64_t out, int64_t in, Format format) {
  LinearWeight weight;
  weight.out_features = out;
  weight.in_features = in;
  const Tensor dense = round_to_bf16(random_floats({out, in}, 1));
  if (format == Format::bf16) {
    weight.weight = dense;
    return weight;
  }
  const QuantizationScheme scheme;
  const QuantizedWeight q = QuantizedWeight::on_host(out, in, scheme);
  ops::quantize_weight(cx, dense, scheme, Observer::minmax, q);
  weight.weight = pack_linear(q, scheme);
  return weight;
}

// The first row: the reference backend is slow by design.
bool agrees(const LinearWeight& stored, const Tensor& x, const Tensor& y, double most) {
  const BackendPtr reference = open_backend({.name = "reference", .threads = 1});
  Arena scratch(*reference);
  Context reference_cx{.backend = *reference, .scratch = scratch};
  const Tensor expected = Tensor::on_host(DType::f32, {1, stored.out_features});
  ops::linear(reference_cx, x.rows(0, 1), stored, expected);
  double error = 0;
  double norm = 0;
  for (int64_t i = 0; i < stored.out_features; ++i) {
    error += std::pow(y.span<float>()[i] - expected.span<float>()[i], 2);
    norm += std::pow(expected.span<float>()[i], 2);
  }
  return std::sqrt(error / norm) < most;
}

struct Machine {
  explicit Machine(Arithmetic arithmetic)
      : backend(open_backend(
            {.name = "cpu", .kernels = forced(arithmetic), .arithmetic = arithmetic})) {}

  // SQUINT_KERNELS=avx2 in the environment measures a lesser table of fast mode.
  static std::string forced(Arithmetic arithmetic) {
    const char* name = std::getenv("SQUINT_KERNELS");
    return name == nullptr || arithmetic == Arithmetic::exact ? "" : name;
  }

  BackendPtr backend;
  Arena scratch{*backend};
  Context cx{.backend = *backend, .scratch = scratch};
};

Machine& machine(Arithmetic arithmetic) {
  static Machine exact(Arithmetic::exact);
  static Machine fast(Arithmetic::fast);
  return arithmetic == Arithmetic::exact ? exact : fast;
}

void linear(benchmark::State& state, Format format, Arithmetic arithmetic) {
  const int64_t rows = state.range(0);
  const int64_t out = state.range(1);
  const int64_t in = state.range(2);
  const bool exact = arithmetic == Arithmetic::exact;
  Context& cx = machine(arithmetic).cx;
  LinearWeight stored = make_weight(cx, out, in, format);
  stored.eight_bits_do = true;
  const LinearWeight weight = cx.backend.prepare(stored);
  const Tensor x = random_floats({rows, in}, 2);
  const Tensor y = Tensor::on_host(DType::f32, {rows, out});
  ops::linear(cx, x, weight, y);
  if (!agrees(stored, x, y, exact ? 1e-5 : 1e-2)) {
    state.SkipWithError("the result differs from the reference backend's");
    return;
  }
  for (auto _ : state) ops::linear(cx, x, weight, y);
  const double bits =
      format == Format::bf16 ? (exact ? 16 : 8 + 16.0 / 64) : 4 + (exact ? 64.0 : 16.0) / 128;
  const auto operations = static_cast<double>(2 * rows * out * in);
  const auto bytes = static_cast<double>(out * in) * bits / 8;
  using benchmark::Counter;
  state.counters["GFLOP/s"] = Counter(operations * 1e-9, Counter::kIsIterationInvariantRate);
  state.counters["GB/s"] = Counter(bytes * 1e-9, Counter::kIsIterationInvariantRate);
}

void read_memory(benchmark::State& state) {
  // One pass over 256 MiB with all workers: what a decode step cannot beat.
  const Tensor memory = random_floats({int64_t{1} << 26}, 3);
  Context& cx = machine(Arithmetic::exact).cx;
  for (auto _ : state) {
    benchmark::DoNotOptimize(
        ops::dot(cx, memory.reshaped({1 << 10, 1 << 16}), memory.reshaped({1 << 10, 1 << 16})));
  }
  using benchmark::Counter;
  state.counters["GB/s"] =
      Counter(static_cast<double>(memory.bytes()) * 1e-9, Counter::kIsIterationInvariantRate);
}

BENCHMARK(read_memory)->Unit(benchmark::kMillisecond)->UseRealTime();
// The reader's layers at a prompt's length, the 2B's and 8B's at one row, a prompt and a long one.
void shapes(benchmark::internal::Benchmark* b) {
  b->Args({33, 1152, 384})
      ->Args({1, 1152, 384})
      ->Args({1, 6144, 2048})
      ->Args({512, 6144, 2048})
      ->Args({1, 12288, 4096})
      ->Args({128, 12288, 4096})
      ->Unit(benchmark::kMillisecond)
      ->UseRealTime();
}
BENCHMARK_CAPTURE(linear, bf16, Format::bf16, Arithmetic::exact)->Apply(shapes);
BENCHMARK_CAPTURE(linear, int4, Format::int4, Arithmetic::exact)->Apply(shapes);
BENCHMARK_CAPTURE(linear, fast_bf16, Format::bf16, Arithmetic::fast)->Apply(shapes);
BENCHMARK_CAPTURE(linear, fast_int4, Format::int4, Arithmetic::fast)->Apply(shapes);

}  // namespace
}  // namespace squint

BENCHMARK_MAIN();
