#include "quantize/verify_linear.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <span>

namespace squint::quantize {
namespace {

using io::CodeOrder;
using io::PackedReading;

// Rows a worker reads at a time: a cache line of AutoAWQ's words. Also how many are enough to tell
// a wrong reading from the right one.
constexpr int64_t kBlockRows = 128;
// Rounding to nearest gives 1 or a little more; off by one in the zero points gives 3.6.
constexpr double kExpectedExcess = 1.8;
// Beyond what compensating for other columns' errors explains.
constexpr double kUnexplainedExcess = 6;
constexpr double kUnexplainedError = 0.5;
// A rounding to bf16 or f16 of factors that smoothing left unrounded.
constexpr double kDenseError = 0.006;
// Rows whose fitted factors vary less have not been smoothed: that is the fit's own noise.
constexpr double kSmoothedSpread = 0.03;
// What another reading must gain to be the right one.
constexpr double kClearlyBetter = 0.6;

void read_rows(const Tensor& tensor, int64_t begin, int64_t count, std::span<float> out) {
  const Tensor rows = tensor.rows(begin, count);
  if (rows.dtype() == DType::bf16) {
    std::ranges::transform(rows.span<const bf16>(), out.begin(),
                           [](bf16 x) { return to_float(x); });
  } else {
    const Tensor values = to_f32(rows);
    std::ranges::copy(values.span<const float>(), out.begin());
  }
}

struct Sums {
  double ww = 0;  // of the base's weights
  double wq = 0;
  double qq = 0;
  double noise = 0;  // expected of rounding to nearest: scale² / 12
  double factor = 1;

  double error() const { return std::max(0.0, qq / (factor * factor) - 2 * wq / factor + ww); }
};

struct Measured {
  double error = 0;
  double excess = 0;
  std::vector<float> row_factors;
};

class Comparer {
 public:
  Comparer(const LinearComparison& c, LinearVerifier::Workspace& space)
      : c_(c), space_(space), rows_(c.base.dim(0)), cols_(c.base.dim(1)) {
    if (c.packed == nullptr) return;
    group_weight_.resize(static_cast<size_t>(c.packed->groups));
    for (size_t i = 0; i < c.columns.size(); ++i) {
      group_weight_[static_cast<size_t>(c.packed->group_of_column[i])] +=
          static_cast<double>(c.columns[i]) * c.columns[i] / 12;
    }
  }

  // The first `rows` rows.
  Measured measure(const PackedReading& reading, int64_t rows) const {
    std::vector<Sums> sums(static_cast<size_t>(rows));
    for_blocks(reading, rows, [&](int64_t r, std::span<const float> q, std::span<const float> w) {
      sums[static_cast<size_t>(r)] = sums_of(r, q, w);
    });
    if (c_.fits_rows) fit(sums);
    Measured out;
    double whole = 0;
    double noise = 0;
    double error = 0;
    for (const Sums& s : sums) {
      out.row_factors.push_back(static_cast<float>(s.factor));
      whole += s.ww;
      error += s.error();
      noise += s.noise / (s.factor * s.factor);
    }
    out.error = whole > 0 ? std::sqrt(error / whole) : std::sqrt(error);
    out.excess = noise > 0 ? std::sqrt(error / noise) : 0;
    return out;
  }

  // What the error would be if every column had the factor that fits it best.
  double error_with_fitted_columns(const PackedReading& reading) const {
    const int64_t rows = sample_rows();
    std::vector<Sums> columns(static_cast<size_t>(cols_));
    const auto [q, w] = space_.rows(0, rows * cols_);
    read(reading, 0, rows, q, w);
    for (size_t i = 0; i < q.size(); ++i) {
      Sums& s = columns[i % columns.size()];
      s.ww += static_cast<double>(w[i]) * w[i];
      s.wq += static_cast<double>(w[i]) * q[i];
      s.qq += static_cast<double>(q[i]) * q[i];
    }
    double error = 0;
    double whole = 0;
    for (Sums& s : columns) {
      if (s.wq > 0) s.factor = s.wq / s.ww;
      error += s.error();
      whole += s.ww;
    }
    return whole > 0 ? std::sqrt(error / whole) : 0;
  }

  int64_t sample_rows() const { return std::min(rows_, kBlockRows); }
  int64_t rows() const { return rows_; }

 private:
  static void fit(std::vector<Sums>& rows) {
    double squares = 0;
    for (Sums& s : rows) {
      // A row that does not resemble the base's has no factor.
      if (s.wq > 0 && s.wq * s.wq > 0.25 * s.ww * s.qq) s.factor = s.wq / s.ww;
      squares += std::pow(std::log(s.factor), 2);
    }
    if (squares > kSmoothedSpread * kSmoothedSpread * static_cast<double>(rows.size())) return;
    for (Sums& s : rows) s.factor = 1;
  }

  Sums sums_of(int64_t r, std::span<const float> q, std::span<const float> w) const {
    Sums s;
    for (size_t i = 0; i < q.size(); ++i) {
      const double value = static_cast<double>(q[i]) * c_.columns[i];
      s.ww += static_cast<double>(w[i]) * w[i];
      s.wq += w[i] * value;
      s.qq += value * value;
    }
    for (size_t g = 0; g < group_weight_.size(); ++g) {
      const double scale = c_.packed->scales[static_cast<size_t>(r) * group_weight_.size() + g];
      s.noise += scale * scale * group_weight_[g];
    }
    return s;
  }

  void read(const PackedReading& reading, int64_t begin, int64_t count, std::span<float> q,
            std::span<float> w) const {
    if (c_.packed != nullptr) {
      c_.packed->dequantize(reading, begin, count, q);
    } else {
      read_rows(c_.dense, begin, count, q);
    }
    read_rows(c_.base, begin, count, w);
  }

  template <class OnRow>
  void for_blocks(const PackedReading& reading, int64_t rows, const OnRow& on_row) const {
    space_.pool.parallel_for(rows, kBlockRows, [&](int64_t begin, int64_t end, int worker) {
      const auto [q, w] = space_.rows(worker, kBlockRows * cols_);
      for (int64_t first = begin; first < end; first += kBlockRows) {
        const int64_t count = std::min(kBlockRows, end - first);
        read(reading, first, count, q, w);
        for (int64_t r = 0; r < count; ++r) {
          const auto at = static_cast<size_t>(r * cols_);
          const auto size = static_cast<size_t>(cols_);
          on_row(first + r, q.subspan(at, size), w.subspan(at, size));
        }
      }
    });
  }

  const LinearComparison& c_;
  LinearVerifier::Workspace& space_;
  int64_t rows_;
  int64_t cols_;
  std::vector<double> group_weight_;  // Σ columns² / 12 of each group
};

std::vector<PackedReading> other_readings(const PackedReading& declared, bool has_zeros) {
  using enum CodeOrder;
  std::vector<PackedReading> out;
  for (const CodeOrder weights : {sequential, interleaved, reversed}) {
    for (const CodeOrder zeros : {sequential, interleaved, reversed}) {
      if (!has_zeros && zeros != declared.zero_points) continue;
      for (const int shift : {-1, 0, 1}) {
        out.push_back(
            {.weights = weights, .zero_points = zeros, .zero_shift = declared.zero_shift + shift});
      }
    }
  }
  std::erase(out, declared);
  return out;
}

// The reading under which the layer resembles the base, where the declared one does not.
std::optional<PackedReading> right_reading(const Comparer& comparer, const PackedReading& declared,
                                           bool has_zeros) {
  const int64_t rows = comparer.sample_rows();
  double least = comparer.measure(declared, rows).error * kClearlyBetter;
  std::optional<PackedReading> best;
  for (const PackedReading& reading : other_readings(declared, has_zeros)) {
    const Measured tried = comparer.measure(reading, rows);
    if (!(tried.error < least) || tried.excess > kUnexplainedExcess) continue;
    least = tried.error;
    best = reading;
  }
  return best;
}

std::string difference(const PackedReading& declared, const PackedReading& right) {
  std::string out;
  const auto add = [&](const std::string& text) { out += (out.empty() ? "" : ", ") + text; };
  if (right.weights != declared.weights) {
    add(fmt::format("integers are packed {}, the format says {}", name(right.weights),
                    name(declared.weights)));
  }
  if (right.zero_points != declared.zero_points) {
    add(fmt::format("zero points are packed {}, the format says {}", name(right.zero_points),
                    name(declared.zero_points)));
  }
  if (right.zero_shift != declared.zero_shift) {
    add(fmt::format("zero points are stored one too {}",
                    right.zero_shift < declared.zero_shift ? "high" : "low"));
  }
  return out;
}

}  // namespace

std::array<std::span<float>, 2> LinearVerifier::Workspace::rows(int worker, int64_t values) {
  std::array<std::span<float>, 2> out;
  for (size_t i = 0; i < out.size(); ++i) {
    std::vector<float>& buffer = buffers[2 * static_cast<size_t>(worker) + i];
    if (buffer.size() < static_cast<size_t>(values)) buffer.resize(static_cast<size_t>(values));
    out[i] = std::span(buffer).first(static_cast<size_t>(values));
  }
  return out;
}

std::vector<float> LinearVerifier::verify(const LinearComparison& comparison,
                                          const PackedReading& declared, VerifiedLinear& out) {
  const Comparer comparer(comparison, space_);
  Measured measured = comparer.measure(declared, comparer.rows());
  out.error = measured.error;
  out.excess = measured.excess;
  if (!std::isfinite(measured.error)) {
    out.problems.emplace_back("weights of the checkpoint or of the base model are NaN or infinite");
    return std::move(measured.row_factors);
  }
  const bool packed = comparison.packed != nullptr;
  if (packed ? measured.excess <= kExpectedExcess : measured.error <= kDenseError) {
    return std::move(measured.row_factors);
  }
  if (packed) {
    const std::optional<PackedReading> right =
        right_reading(comparer, declared, comparison.packed->zeros.has_value());
    if (right) {
      measured = comparer.measure(*right, comparer.rows());
      out.problems.push_back(fmt::format("{}: error {:.3f}, read so {:.3f}",
                                         difference(declared, *right), out.error, measured.error));
      return std::move(measured.row_factors);
    }
    if (measured.excess <= kUnexplainedExcess && measured.error <= kUnexplainedError) {
      return std::move(measured.row_factors);
    }
  }
  const double fitted = comparer.error_with_fitted_columns(declared);
  out.problems.push_back(
      fitted < kClearlyBetter * measured.error
          ? fmt::format("columns are scaled by factors that nothing undoes: error {:.3f}, without "
                        "them {:.3f}; smoothed, but the norm or the layer before was not?",
                        out.error, fitted)
          : fmt::format("the weights are not those of the base model: error {:.3f}; another base, "
                        "or damaged?",
                        out.error));
  return std::vector<float>(measured.row_factors.size(), 1);  // Nothing follows from this layer.
}

}  // namespace squint::quantize
