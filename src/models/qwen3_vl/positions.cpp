#include "models/qwen3_vl/positions.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"

namespace squint::qwen3_vl {
namespace {

// Calls body(row, y, x) for every patch in block order: 2 x 2 blocks (for merge size 2) in raster
// order, row by row inside a block. Rows of blocks side by side on the host's threads.
template <class Body>
void for_patches(const Grid& grid, int64_t merge, const HostWork& host, const Body& body) {
  host.each(grid.h / merge, 1, [&](int64_t begin, int64_t end) {
    int64_t row = begin * merge * grid.w;
    for (int64_t by = begin * merge; by < end * merge; by += merge) {
      for (int64_t bx = 0; bx < grid.w; bx += merge) {
        for (int64_t y = by; y < by + merge; ++y) {
          for (int64_t x = bx; x < bx + merge; ++x) body(row++, y, x);
        }
      }
    }
  });
}

// The two table rows around a target index, aligned corners, in float32 as the reference does it.
struct Taps {
  std::array<int64_t, 2> index;
  std::array<float, 2> weight;
};

Taps taps_of(int64_t i, int64_t count, int64_t side) {
  const auto last = static_cast<float>(side - 1);
  const float source =
      static_cast<float>(i) * last / static_cast<float>(std::max<int64_t>(count - 1, 1));
  const float floor = std::floor(source);
  const auto low = static_cast<int64_t>(floor);
  return {.index = {std::min(low, side - 1), std::min(low + 1, side - 1)},
          .weight = {std::max(1.0f - std::abs(source - floor), 0.0f),
                     std::max(1.0f - std::abs(source - floor - 1.0f), 0.0f)}};
}

}  // namespace

PromptPositions prompt_positions(int64_t num_tokens, std::span<const ImageRun> runs,
                                 int64_t merge_size) {
  PromptPositions out;
  out.tokens.reserve(static_cast<size_t>(num_tokens));
  int64_t p = 0;
  const auto text_until = [&](int64_t end) {
    while (static_cast<int64_t>(out.tokens.size()) < end) {
      out.tokens.push_back({p, p, p});
      ++p;
    }
  };
  for (const ImageRun& run : runs) {
    text_until(run.begin);
    const int64_t rows = run.grid.h / merge_size;
    const int64_t columns = run.grid.w / merge_size;
    SQUINT_CHECK(run.tokens == rows * columns);
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t c = 0; c < columns; ++c) out.tokens.push_back({p, p + r, p + c});
    }
    p += std::max(rows, columns);
  }
  text_until(num_tokens);
  SQUINT_CHECK(static_cast<int64_t>(out.tokens.size()) == num_tokens);
  out.next = p;
  return out;
}

RotaryTable text_rotary(std::span<const Position> positions, const TextConfig& config,
                        const HostWork& host) {
  const int64_t half = config.head_dim / 2;
  const auto tokens = static_cast<int64_t>(positions.size());
  std::vector<float> frequency(static_cast<size_t>(half));
  std::vector<size_t> axis(static_cast<size_t>(half), 0);
  for (int64_t i = 0; i < half; ++i) {
    const double exponent = static_cast<double>(2 * i) / static_cast<double>(config.head_dim);
    frequency[i] = static_cast<float>(1.0 / std::pow(config.rope_theta, exponent));
    // Height and width take every third frequency, up to their share; time has the rest.
    const auto candidate = static_cast<size_t>(i % 3);
    if (candidate != 0 && i < 3 * config.mrope_section[candidate]) axis[i] = candidate;
  }
  RotaryTable table{host.tensor(DType::f32, {tokens, half}),
                    host.tensor(DType::f32, {tokens, half})};
  constexpr int64_t kGrain = 32;  // a single token is not worth waking anybody
  host.each(tokens, kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      for (int64_t i = 0; i < half; ++i) {
        const float angle = static_cast<float>(positions[t][axis[i]]) * frequency[i];
        table.cosine.span<float>()[t * half + i] = std::cos(angle);
        table.sine.span<float>()[t * half + i] = std::sin(angle);
      }
    }
  });
  return table;
}

RotaryTable vision_rotary(const Grid& grid, const VisionConfig& config, const HostWork& host) {
  const int64_t half = config.head_dim() / 2;
  const int64_t quarter = half / 2;
  const int64_t patches = grid.h * grid.w;
  // The first half of a row is the same for all patches of a row of the grid, the second one for
  // those of a column.
  const int64_t places = std::max(grid.h, grid.w);
  std::vector<float> cosine(static_cast<size_t>(places * quarter));
  std::vector<float> sine(cosine.size());
  for (int64_t k = 0; k < quarter; ++k) {
    const double exponent = static_cast<double>(2 * k) / static_cast<double>(half);
    const auto frequency = static_cast<float>(1.0 / std::pow(10000.0, exponent));
    for (int64_t place = 0; place < places; ++place) {
      const float angle = static_cast<float>(place) * frequency;
      cosine[static_cast<size_t>(place * quarter + k)] = std::cos(angle);
      sine[static_cast<size_t>(place * quarter + k)] = std::sin(angle);
    }
  }
  RotaryTable table{host.tensor(DType::f32, {patches, half}),
                    host.tensor(DType::f32, {patches, half})};
  const auto fill = [&](const std::vector<float>& from, const Tensor& to, int64_t row, int64_t y,
                        int64_t x) {
    float* out = to.span<float>().data() + row * half;
    std::copy_n(from.data() + y * quarter, quarter, out);
    std::copy_n(from.data() + x * quarter, quarter, out + quarter);
  };
  for_patches(grid, config.merge_size, host, [&](int64_t row, int64_t y, int64_t x) {
    fill(cosine, table.cosine, row, y, x);
    fill(sine, table.sine, row, y, x);
  });
  return table;
}

Tensor interpolated_positions(const Tensor& table, const Grid& grid, const VisionConfig& config,
                              const HostWork& host) {
  const auto side =
      static_cast<int64_t>(std::lround(std::sqrt(static_cast<double>(config.positions))));
  SQUINT_CHECK(side * side == config.positions);
  const int64_t n = config.hidden;
  const Tensor floats = host.tensor(DType::f32, table.shape());
  constexpr int64_t kGrain = 16;
  host.each(table.dim(0), kGrain, [&](int64_t begin, int64_t end) {
    to_f32(table.rows(begin, end - begin), floats.rows(begin, end - begin).span<float>());
  });
  const std::span<const float> from = floats.span<const float>();
  Tensor out = host.tensor(DType::f32, {grid.h * grid.w, n});
  for_patches(grid, config.merge_size, host, [&](int64_t row, int64_t y, int64_t x) {
    const Taps ty = taps_of(y, grid.h, side);
    const Taps tx = taps_of(x, grid.w, side);
    float* to = out.span<float>().data() + row * n;
    std::fill(to, to + n, 0.0f);
    for (size_t a = 0; a < 2; ++a) {
      for (size_t b = 0; b < 2; ++b) {
        const float weight = ty.weight[a] * tx.weight[b];
        const float* source = from.data() + (ty.index[a] * side + tx.index[b]) * n;
        for (int64_t i = 0; i < n; ++i) to[i] += weight * source[i];
      }
    }
  });
  return out;
}

}  // namespace squint::qwen3_vl
