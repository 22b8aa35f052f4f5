#include "quantize/work_rates.h"

#include <algorithm>
#include <ctime>
#include <functional>
#include <string>
#include <vector>

#include "base/random.h"
#include "core/quantization.h"
#include "io/fingerprint.h"
#include "ops/copies.h"
#include "ops/ops.h"
#include "quantize/gptq.h"

namespace squint::quantize {
namespace {

constexpr double kSeconds = 0.003;  // of a sample: what is shorter says little
constexpr int kSamples = 3;         // the fastest counts
constexpr int kMostParts = 64;
constexpr int64_t kColumns = 512;
constexpr int64_t kTokens = 16;  // of a part
constexpr int64_t kRows = 16;

// The processor's time, not the clock's: what else runs on the machine at this moment makes no
// difference.
double processor_seconds() {
  return static_cast<double>(std::clock()) / static_cast<double>(CLOCKS_PER_SEC);
}

// body(parts) takes so many times as long as body(1). Doubles them until it takes long enough; the
// first time does not count.
double rate_of(double operations_of_a_part, const std::function<void(int parts)>& body) {
  const auto seconds_of = [&](int parts) {
    const double start = processor_seconds();
    body(parts);
    return std::max(processor_seconds() - start, 1e-6);
  };
  body(1);
  int parts = 1;
  double least = seconds_of(parts);
  while (least < kSeconds && parts < kMostParts) least = seconds_of(parts *= 2);
  for (int i = 1; i < kSamples; ++i) least = std::min(least, seconds_of(parts));
  return operations_of_a_part * parts / least;
}

Tensor random_values(const Shape& shape, Random& random) {
  Tensor out = Tensor::on_host(DType::f32, shape);
  for (float& value : out.span<float>()) value = static_cast<float>(random.uniform() - 0.5);
  return out;
}

class Sampler {
 public:
  explicit Sampler(Backend& backend)
      : scratch_(backend),
        cx_{.backend = backend, .scratch = scratch_},
        x_(random_values({kTokens * kMostParts, kColumns}, random_)),
        weight_(random_values({kRows * kMostParts, kColumns}, random_)) {}

  WorkRates run() {
    WorkRates rates;
    sample_products(rates);
    sample_rounding(rates);
    // On one thread, and for all of them so many times as much.
    const auto threads = static_cast<double>(cx_.backend.host_threads().size());
    for (double* rate : {&rates.product, &rates.moment, &rates.search, &rates.range_search,
                         &rates.pass, &rates.feedback, &rates.descent}) {
      *rate *= threads;
    }
    const std::string bytes(size_t{1} << 18, 'x');
    rates.hash = rate_of(static_cast<double>(bytes.size()), [&](int parts) {
      for (int i = 0; i < parts; ++i) io::sha256(bytes);
    });
    return rates;
  }

 private:
  void sample_products(WorkRates& rates) {
    LinearWeight square{.out_features = kColumns, .in_features = kColumns};
    square.weight = weight_.rows(0, kColumns);
    const LinearWeight ready = cx_.backend.prepare(square);
    const Tensor x = on_device(cx_, x_);
    const Tensor out = cx_.scratch.tensor(x_.shape());
    constexpr double kProducts = kTokens * kColumns * kColumns;
    rates.product = rate_of(kProducts, [&](int parts) {
      ops::linear(cx_, x.rows(0, kTokens * parts), ready, out.rows(0, kTokens * parts));
      cx_.backend.synchronize();
    });
    const Tensor moment = cx_.scratch.tensor({kColumns, kColumns});
    rates.moment = rate_of(kProducts / 2, [&](int parts) {
      ops::add_second_moment(cx_, x.rows(0, kTokens * parts), moment);
      cx_.backend.synchronize();
    });
  }

  void sample_rounding(WorkRates& rates) {
    const QuantizationScheme scheme{.bits = 4, .group_size = 128, .symmetric = true};
    const Tensor stored = round_to_bf16(weight_);
    const Tensor error = cx_.scratch.tensor(weight_.shape());
    constexpr double kWeights = kRows * kColumns;
    const auto empty = [&](int parts) {
      return QuantizedWeight::on_host(kRows * parts, kColumns, scheme);
    };
    rates.search = rate_of(kWeights, [&](int parts) {
      ops::quantize_weight(cx_, stored.rows(0, kRows * parts), scheme, Observer::mse, empty(parts));
    });
    rates.pass = rate_of(kWeights, [&](int parts) {
      ops::quantization_error(cx_, stored.rows(0, kRows * parts), {}, scheme,
                              error.rows(0, kRows * parts));
      cx_.backend.synchronize();
    });
    Tensor hessian = Tensor::on_host(DType::f32, {kColumns, kColumns});
    const std::span<float> h = hessian.span<float>();
    for (int64_t i = 0; i < kColumns * kColumns; ++i) {
      h[static_cast<size_t>(i)] = i / kColumns == i % kColumns ? 1.0f : 0.3f;
    }
    const auto seconds_a_weight = [&](const AdaptiveRounding& how) {
      return 1 / rate_of(kWeights, [&](int parts) {
               ops::round_adaptively(cx_, weight_.rows(0, kRows * parts), how, scheme,
                                     empty(parts));
             });
    };
    AdaptiveRounding how = adaptive_rounding(cx_, on_device(cx_, hessian), {0.01}, 0, [] {});
    how.search = false;
    const double feedback = seconds_a_weight(how);
    how.rounds = 2;
    const double descent = (seconds_a_weight(how) - feedback) / 2;
    AdaptiveRounding alone;
    alone.importance = how.importance;
    rates.range_search = 1 / seconds_a_weight(alone);
    rates.feedback = kColumns / 2 / feedback;
    rates.descent = kColumns / std::max(descent, feedback / 10);
  }

  Arena scratch_;  // of its own: what a run has taken it keeps
  Context cx_;
  Random random_{1};
  Tensor x_;
  Tensor weight_;
};

}  // namespace

WorkRates measure_rates(Backend& backend) { return Sampler(backend).run(); }

}  // namespace squint::quantize
