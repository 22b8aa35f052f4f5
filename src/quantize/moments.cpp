#include "quantize/moments.h"

#include <algorithm>
#include <atomic>
#include <cmath>

namespace squint::quantize {
namespace {

constexpr int64_t kTile = 64;  // of a square that is mirrored

}  // namespace

bool take_mean(const Tensor& moment, double weight, ThreadPool& threads) {
  const int64_t n = moment.dim(0);
  const std::span<float> h = moment.span<float>();
  std::atomic<bool> finite = true;
  threads.parallel_for((n + kTile - 1) / kTile, 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin * kTile; i < std::min(n, end * kTile); ++i) {
      for (int64_t j = i; j < n; ++j) {
        h[i * n + j] = static_cast<float>(h[i * n + j] / weight);
        if (!std::isfinite(h[i * n + j])) finite = false;
      }
    }
    for (int64_t column = begin * kTile; column < n; column += kTile) {
      for (int64_t j = column; j < std::min(n, column + kTile); ++j) {
        for (int64_t i = begin * kTile; i < std::min({n, end * kTile, j}); ++i) {
          h[j * n + i] = h[i * n + j];
        }
      }
    }
  });
  return finite;
}

bool divide_columns(const Tensor& matrix, double weight, std::span<const float> factors,
                    ThreadPool& threads) {
  std::atomic<bool> finite = true;
  threads.parallel_for(matrix.dim(0), 1, [&](int64_t begin, int64_t end, int) {
    const std::span<float> values = matrix.rows(begin, end - begin).span<float>();
    const auto n = static_cast<size_t>(matrix.dim(1));
    for (size_t i = 0; i < values.size(); ++i) {
      const double factor = factors.empty() ? 1 : factors[i % n];
      values[i] = static_cast<float>(values[i] / (weight * factor));
      if (!std::isfinite(values[i])) finite = false;
    }
  });
  return finite;
}

void put_columns(const Tensor& columns, int64_t first, const Tensor& to) {
  const int64_t count = columns.dim(1);
  for (int64_t row = 0; row < columns.dim(0); ++row) {
    std::copy_n(columns.span<const float>().data() + row * count, count,
                to.span<float>().data() + row * to.dim(1) + first);
  }
}

void multiply_in_parts(Context& cx, const Tensor& x, const Tensor& m,
                       const std::function<void(int64_t first, const Tensor& columns)>& take) {
  for (int64_t first = 0; first < m.dim(0); first += kMomentColumns) {
    const Arena::Scope scope(cx.scratch);
    const int64_t count = std::min(kMomentColumns, m.dim(0) - first);
    LinearWeight part{.out_features = count, .in_features = m.dim(1)};
    part.weight = m.rows(first, count);
    const Tensor columns = cx.scratch.tensor({x.dim(0), count});
    ops::linear(cx, x, cx.backend.prepare(part), columns);
    take(first, columns);
  }
}

}  // namespace squint::quantize
