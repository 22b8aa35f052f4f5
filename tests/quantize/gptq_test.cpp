#include "quantize/gptq.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "base/random.h"
#include "squint/backend.h"
#include "squint/error.h"

namespace squint::quantize {
namespace {

constexpr uint64_t kSeed = 7;

// A backend with so many threads, and what goes with it.
class Machine {
 public:
  explicit Machine(int threads)
      : backend_(open_backend({.name = "cpu", .threads = threads})), scratch_(*backend_) {}
  operator Context&() { return cx_; }  // NOLINT(google-explicit-constructor)

 private:
  BackendPtr backend_;
  Arena scratch_;
  Context cx_{.backend = *backend_, .scratch = scratch_};
};

Context& machine() {
  static Machine one(1);
  return one;
}

AdaptiveRounding rounding_for(const Tensor& hessian, const Damping& damping, int rounds) {
  return adaptive_rounding(machine(), hessian, damping, rounds, [] {});
}

std::vector<double> random_values(int64_t count, uint64_t seed) {
  Random random(seed);
  std::vector<double> values(static_cast<size_t>(count));
  for (double& v : values) v = 2 * random.uniform() - 1;
  return values;
}

// XᵀX / tokens
Tensor moments(int64_t n, int64_t tokens, uint64_t seed) {
  const std::vector<double> x = random_values(tokens * n, seed);
  Tensor h = Tensor::on_host(DType::f32, {n, n});
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      double sum = 0;
      for (int64_t t = 0; t < tokens; ++t) sum += x[t * n + i] * x[t * n + j] * (1 + i % 3);
      h.span<float>()[i * n + j] = static_cast<float>(sum * (1 + j % 3) / tokens);
    }
  }
  return h;
}

Tensor random_weight(int64_t rows, int64_t in, uint64_t seed) {
  const std::vector<double> values = random_values(rows * in, seed);
  return Tensor::copy_of<float>(std::vector<float>(values.begin(), values.end()), {rows, in});
}

TEST(AdaptiveRounding, LargestSecondMomentsComeFirst) {
  const AdaptiveRounding how = rounding_for(moments(24, 40, kSeed), {0.01}, 0);
  std::vector<int32_t> sorted = how.order;
  std::ranges::sort(sorted);
  for (int32_t i = 0; i < 24; ++i) EXPECT_EQ(sorted[static_cast<size_t>(i)], i);
  for (size_t i = 1; i < how.order.size(); ++i) {
    EXPECT_GE(how.importance.span<float>()[how.order[i - 1]],
              how.importance.span<float>()[how.order[i]]);
  }
}

// H = U D Uᵀ with U = 1 + feedbackᵀ: its part below a diagonal gives D, and must be positive.
TEST(AdaptiveRounding, FeedbackFactorsTheHessian) {
  constexpr int64_t kSize = 20;
  const AdaptiveRounding how = rounding_for(moments(kSize, 64, kSeed), {0.05}, 0);
  const auto h = [&](int64_t i, int64_t j) {
    return static_cast<double>(how.hessian.span<float>()[how.order[i] * kSize + how.order[j]]);
  };
  const auto u = [&](int64_t j, int64_t k) {
    return j == k ? 1.0 : static_cast<double>(how.feedback.span<float>()[k * kSize + j]);
  };
  std::vector<double> d(kSize);
  for (int64_t k = kSize - 1; k >= 0; --k) {
    d[k] = h(k, k);
    for (int64_t m = k + 1; m < kSize; ++m) d[k] -= u(k, m) * u(k, m) * d[m];
    EXPECT_GT(d[k], 0) << k;
  }
  for (int64_t i = 0; i < kSize; ++i) {
    for (int64_t j = 0; j < kSize; ++j) {
      double sum = 0;
      for (int64_t k = std::max(i, j); k < kSize; ++k) sum += u(i, k) * d[k] * u(j, k);
      EXPECT_NEAR(sum, h(i, j), 1e-5 * std::abs(h(0, 0))) << i << ", " << j;
    }
  }
}

// GPTQ as its paper writes it: the rest of a row takes over each column's error through the rows of
// the upper Cholesky factor of H⁻¹ (spec awq-w4a16.md §3).
std::vector<int> textbook_gptq(const Tensor& weight, const AdaptiveRounding& how, float scale) {
  const int64_t n = weight.dim(1);
  std::vector<double> inverse(static_cast<size_t>(n * n));
  std::vector<double> h(static_cast<size_t>(n * n));
  for (int64_t i = 0; i < n; ++i) {
    inverse[i * n + i] = 1;
    for (int64_t j = 0; j < n; ++j) {
      h[i * n + j] = how.hessian.span<float>()[how.order[i] * n + how.order[j]];
    }
  }
  for (int64_t p = 0; p < n; ++p) {  // Gauss-Jordan; H is positive: no pivoting
    const double pivot = h[p * n + p];
    for (int64_t j = 0; j < n; ++j) {
      h[p * n + j] /= pivot;
      inverse[p * n + j] /= pivot;
    }
    for (int64_t i = 0; i < n; ++i) {
      const double factor = h[i * n + p];
      if (i == p || factor == 0) continue;
      for (int64_t j = 0; j < n; ++j) {
        h[i * n + j] -= factor * h[p * n + j];
        inverse[i * n + j] -= factor * inverse[p * n + j];
      }
    }
  }
  std::vector<int> codes;
  for (int64_t row = 0; row < weight.dim(0); ++row) {
    std::vector<double> w(static_cast<size_t>(n));
    for (int64_t i = 0; i < n; ++i) w[i] = weight.span<const float>()[row * n + how.order[i]];
    std::vector<double> rest = inverse;  // of the columns that are still to come
    std::vector<int> by_column(static_cast<size_t>(n));
    for (int64_t k = 0; k < n; ++k) {
      const double code = std::clamp(std::nearbyint(w[k] / scale), -8.0, 7.0);
      by_column[how.order[k]] = static_cast<int>(code);
      const double error = (w[k] - code * scale) / rest[k * n + k];
      for (int64_t j = k; j < n; ++j) w[j] -= error * rest[k * n + j];
      for (int64_t i = k + 1; i < n; ++i) {
        for (int64_t j = k + 1; j < n; ++j) {
          rest[i * n + j] -= rest[i * n + k] * rest[k * n + j] / rest[k * n + k];
        }
      }
    }
    codes.insert(codes.end(), by_column.begin(), by_column.end());
  }
  return codes;
}

TEST(AdaptiveRounding, IsGptq) {
  constexpr int64_t kSize = 32;
  const AdaptiveRounding found = rounding_for(moments(kSize, 48, kSeed), {0.01}, 0);
  AdaptiveRounding how = found;
  how.search = false;
  const Tensor weight = random_weight(12, kSize, kSeed + 1);
  for (const char* name : {"reference", "cpu"}) {
    const BackendPtr backend = open_backend({.name = name, .threads = 2});
    const QuantizationScheme scheme{.bits = 4, .group_size = 0, .symmetric = true};
    const QuantizedWeight q = QuantizedWeight::on_host(12, kSize, scheme);
    backend->round_adaptively(weight, how, scheme, q);
    for (int64_t row = 0; row < 12; ++row) {
      const Tensor one = Tensor::copy_of<float>(
          weight.span<const float>().subspan(static_cast<size_t>(row * kSize), kSize), {1, kSize});
      const std::vector<int> expected =
          textbook_gptq(one, how, to_float(q.scales.span<bf16>()[static_cast<size_t>(row)]));
      for (int64_t i = 0; i < kSize; ++i) {
        EXPECT_EQ(q.codes.span<int8_t>()[row * kSize + i], expected[i])
            << name << ", row " << row << ", column " << i;
      }
    }
  }
}

TEST(AdaptiveRounding, SilentInputsAreNoObstacle) {
  Tensor zero = Tensor::on_host(DType::f32, {16, 16});
  std::ranges::fill(zero.span<float>(), 0.0f);
  const AdaptiveRounding how = rounding_for(zero, {0.01}, 2);
  for (int64_t i = 0; i < 16; ++i) EXPECT_GT(how.hessian.span<float>()[i * 16 + i], 0);
}

// Two tokens in sixteen dimensions: singular without dampening.
TEST(AdaptiveRounding, DampensUntilItCanFactor) {
  const AdaptiveRounding how = rounding_for(moments(16, 2, kSeed), {0}, 0);
  for (const float f : how.feedback.span<float>()) EXPECT_TRUE(std::isfinite(f));
}

TEST(AdaptiveRounding, RefusesWhatIsNotANumber) {
  Tensor h = moments(8, 16, kSeed);
  h.span<float>()[0] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THROW(rounding_for(h, {0.01}, 0), Error);
}

class Propagated : public ::testing::Test {
 protected:
  // w C for C = factor * H.
  Tensor times(const Tensor& weight, const Tensor& h, double factor) const {
    Tensor out = Tensor::on_host(DType::f32, weight.shape());
    const int64_t n = h.dim(0);
    for (int64_t row = 0; row < weight.dim(0); ++row) {
      for (int64_t j = 0; j < n; ++j) {
        double sum = 0;
        for (int64_t i = 0; i < n; ++i) {
          sum += weight.span<const float>()[row * n + i] * h.span<const float>()[i * n + j];
        }
        out.span<float>()[row * n + j] = static_cast<float>(factor * sum);
      }
    }
    return out;
  }

  static Tensor propagated(Context& cx, const Tensor& weight, const Tensor& wc, const Tensor& h,
                           double strength) {
    const Tensor target = Tensor::copy_of<float>(wc.span<const float>(), wc.shape());
    propagate(cx, h, std::array{weight}, std::array{target}, strength, [] {});
    return target;
  }

  Tensor h_ = moments(12, 100, kSeed);
  Tensor weight_ = random_weight(40, 12, kSeed + 2);
};

TEST_F(Propagated, EqualInputsChangeNothing) {
  const Tensor out = propagated(machine(), weight_, times(weight_, h_, 1), h_, 1);
  for (int64_t i = 0; i < out.numel(); ++i) {
    EXPECT_NEAR(out.span<float>()[i], weight_.span<float>()[i], 1e-5);
  }
}

// Inputs that came out as x_f / 2 are made up for by nearly twice the weight, as far as asked.
TEST_F(Propagated, MakesUpForLostInputs) {
  const Tensor wc = times(weight_, h_, 2);
  const Tensor whole = propagated(machine(), weight_, wc, h_, 1);
  const Tensor half = propagated(machine(), weight_, wc, h_, 0.5);
  double ratio = 0;
  for (int64_t i = 0; i < whole.numel(); ++i) {
    const float w = weight_.span<float>()[i];
    EXPECT_NEAR(half.span<float>()[i] - w, 0.5 * (whole.span<float>()[i] - w), 1e-5);
    ratio += whole.span<float>()[i] * w / weight_.numel();
  }
  double square = 0;
  for (const float w : weight_.span<float>()) square += w * w / weight_.numel();
  EXPECT_GT(ratio / square, 1.7);
  EXPECT_LT(ratio / square, 2.0);
}

TEST_F(Propagated, DoesNotDependOnThreads) {
  const Tensor wc = times(weight_, h_, 1.5);
  Machine two(2);
  const Tensor a = propagated(machine(), weight_, wc, h_, 0.5);
  const Tensor b = propagated(two, weight_, wc, h_, 0.5);
  EXPECT_TRUE(std::ranges::equal(a.span<float>(), b.span<float>()));
}

}  // namespace
}  // namespace squint::quantize
