#include "core/packed_int.h"

#include <algorithm>

#include "base/check.h"
#include "base/checked_math.h"

namespace squint {
namespace {

// The code c is stored as c + bias, so that the lowest code becomes 0.
constexpr int bias_of(int bits) { return 1 << (bits - 1); }
constexpr uint32_t mask_of(int bits) { return (1u << bits) - 1; }

// Words run along an axis of `length` codes; neighbours on it are `stride` apart.
struct Line {
  int64_t length;
  int64_t stride;
};

// Returns bits outside the mask, if a code had any: one check per line instead of one per code.
template <int kBits>
uint32_t pack_line(const int8_t* codes, int32_t* words, Line line) {
  constexpr int64_t kPerWord = 32 / kBits;
  uint32_t seen = 0;
  for (int64_t begin = 0, w = 0; begin < line.length; begin += kPerWord, ++w) {
    const int64_t count = std::min(kPerWord, line.length - begin);
    uint32_t word = 0;
    for (int64_t i = 0; i < count; ++i) {
      const auto u = static_cast<uint32_t>(codes[(begin + i) * line.stride] + bias_of(kBits));
      seen |= u;
      word |= u << (kBits * i);
    }
    words[w * line.stride] = static_cast<int32_t>(word);
  }
  return seen & ~mask_of(kBits);
}

template <int kBits>
void unpack_line(const int32_t* words, int8_t* codes, Line line) {
  constexpr int64_t kPerWord = 32 / kBits;
  for (int64_t begin = 0, w = 0; begin < line.length; begin += kPerWord, ++w) {
    const int64_t count = std::min(kPerWord, line.length - begin);
    const auto word = static_cast<uint32_t>(words[w * line.stride]);
    for (int64_t i = 0; i < count; ++i) {
      const auto u = static_cast<int>((word >> (kBits * i)) & mask_of(kBits));
      codes[(begin + i) * line.stride] = static_cast<int8_t>(u - bias_of(kBits));
    }
  }
}

void pack_checked(const int8_t* codes, int32_t* words, Line line, int bits) {
  const uint32_t outside =
      bits == 4 ? pack_line<4>(codes, words, line) : pack_line<8>(codes, words, line);
  SQUINT_CHECK(outside == 0);
}

void unpack(const int32_t* words, int8_t* codes, Line line, int bits) {
  if (bits == 4) {
    unpack_line<4>(words, codes, line);
  } else {
    unpack_line<8>(words, codes, line);
  }
}

}  // namespace

int64_t codes_per_word(int bits) {
  SQUINT_CHECK(bits == 4 || bits == 8);
  return 32 / bits;
}

Tensor pack_weight(const Tensor& codes, int bits, ThreadPool* threads) {
  SQUINT_CHECK(codes.shape().rank() == 2);
  const int64_t rows = codes.dim(0);
  const int64_t cols = codes.dim(1);
  const int64_t row_words = ceil_div(cols, codes_per_word(bits));
  Tensor packed = Tensor::on_host(DType::i32, {rows, row_words});
  const int8_t* from = codes.span<const int8_t>().data();
  int32_t* to = packed.span<int32_t>().data();
  const auto pack = [&](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; ++r) {
      pack_checked(from + r * cols, to + r * row_words, {.length = cols, .stride = 1}, bits);
    }
  };
  if (threads != nullptr) {
    threads->parallel_for(rows, 16, pack);
  } else {
    pack(0, rows, 0);
  }
  return packed;
}

Tensor unpack_weight(const Tensor& packed, int64_t cols, int bits) {
  const int64_t row_words = ceil_div(cols, codes_per_word(bits));
  SQUINT_CHECK(packed.shape().rank() == 2 && packed.dim(1) == row_words);
  const int64_t rows = packed.dim(0);
  Tensor codes = Tensor::on_host(DType::i8, {rows, cols});
  const int32_t* from = packed.span<const int32_t>().data();
  int8_t* to = codes.span<int8_t>().data();
  for (int64_t r = 0; r < rows; ++r) {
    unpack(from + r * row_words, to + r * cols, {.length = cols, .stride = 1}, bits);
  }
  return codes;
}

Tensor pack_zero_points(const Tensor& zero_points, int bits) {
  SQUINT_CHECK(zero_points.shape().rank() == 2);
  const int64_t rows = zero_points.dim(0);
  const int64_t groups = zero_points.dim(1);
  Tensor packed = Tensor::on_host(DType::i32, {ceil_div(rows, codes_per_word(bits)), groups});
  const int8_t* from = zero_points.span<const int8_t>().data();
  int32_t* to = packed.span<int32_t>().data();
  for (int64_t g = 0; g < groups; ++g) {
    pack_checked(from + g, to + g, {.length = rows, .stride = groups}, bits);
  }
  return packed;
}

Tensor unpack_zero_points(const Tensor& packed, int64_t rows, int bits) {
  SQUINT_CHECK(packed.shape().rank() == 2 && packed.dim(0) == ceil_div(rows, codes_per_word(bits)));
  const int64_t groups = packed.dim(1);
  Tensor zero_points = Tensor::on_host(DType::i8, {rows, groups});
  const int32_t* from = packed.span<const int32_t>().data();
  int8_t* to = zero_points.span<int8_t>().data();
  for (int64_t g = 0; g < groups; ++g) {
    unpack(from + g, to + g, {.length = rows, .stride = groups}, bits);
  }
  return zero_points;
}

PackedLinear pack_linear(const QuantizedWeight& weight, const QuantizationScheme& scheme,
                         ThreadPool* threads) {
  const int64_t rows = weight.codes.dim(0);
  const int64_t cols = weight.codes.dim(1);
  const Shape scales({rows, scheme.groups(cols)});
  SQUINT_CHECK(scheme.divides(cols) && weight.scales.shape() == scales);
  SQUINT_CHECK(scheme.symmetric || weight.zero_points.shape() == scales);
  return {.rows = rows,
          .cols = cols,
          .group_size = scheme.group_columns(cols),
          .bits = scheme.bits,
          .packed = pack_weight(weight.codes, scheme.bits, threads),
          .scale = weight.scales,
          .zero_point =
              scheme.symmetric ? Tensor() : pack_zero_points(weight.zero_points, scheme.bits)};
}

QuantizedWeight unpack_linear(const PackedLinear& linear) {
  QuantizedWeight weight{.codes = unpack_weight(linear.packed, linear.cols, linear.bits),
                         .scales = linear.scale,
                         .zero_points = {}};
  if (linear.symmetric()) {
    weight.zero_points = Tensor::on_host(DType::i8, {linear.rows, linear.groups()});
    std::ranges::fill(weight.zero_points.span<int8_t>(), int8_t{0});
  } else {
    weight.zero_points = unpack_zero_points(linear.zero_point, linear.rows, linear.bits);
  }
  return weight;
}

void dequantize_row(const PackedLinear& linear, int64_t row, std::span<float> out) {
  SQUINT_CHECK(row >= 0 && row < linear.rows && std::ssize(out) == linear.cols);
  const Tensor codes = unpack_weight(linear.packed.rows(row, 1), linear.cols, linear.bits);
  const std::span<const bf16> scales = linear.scale.rows(row, 1).span<const bf16>();
  Tensor zeros;
  if (!linear.symmetric()) {
    const int64_t per_word = codes_per_word(linear.bits);  // rows that share the words
    zeros = unpack_zero_points(linear.zero_point.rows(row / per_word, 1), per_word, linear.bits)
                .rows(row % per_word, 1);
  }
  const std::span<const int8_t> from = codes.span<const int8_t>();
  for (size_t c = 0; c < out.size(); ++c) {
    const size_t group = c / static_cast<size_t>(linear.group_size);
    const int zero = zeros.empty() ? 0 : zeros.span<const int8_t>()[group];
    out[c] = static_cast<float>(from[c] - zero) * to_float(scales[group]);
  }
}

}  // namespace squint
