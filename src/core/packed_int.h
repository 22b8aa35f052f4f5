// packed_int.h: 4- and 8-bit integers in 32-bit words, as compressed-tensors lays them out on disk
// and as kernels read them (spec awq-w4a16.md §4.1).
//
//     weight word [r, w]     = Σ_i u[r, n*w + i] << (bits * i)   u = code + 2^(bits-1), n = 32/bits
//     zero point word [w, g] = Σ_i u[n*w + i, g] << (bits * i)   along the rows, not the columns
//
// Element 0 sits in the lowest bits, so the bytes of a little-endian row are u[0] | u[1] << 4, ...
// A row begins a new word; what is missing at its end is 0, not the code 0. Dequantization:
//
//     ŵ[r, c] = (u_weight[r, c] - u_zero[r, c / group_size]) * scale[r, c / group_size]
//
// with u_zero = 2^(bits-1) where there is no zero point.
#pragma once

#include <cstdint>
#include <span>

#include "base/thread_pool.h"
#include "core/quantization.h"
#include "core/tensor.h"

namespace squint {

// Codes in one 32-bit word. bits must be 4 or 8.
int64_t codes_per_word(int bits);

// i8 [rows, cols] -> i32 [rows, ceil(cols * bits / 32)]. Every code must fit `bits`
// (InternalError).
Tensor pack_weight(const Tensor& codes, int bits, ThreadPool* threads = nullptr);
// The exact inverse: i8 [rows, cols].
Tensor unpack_weight(const Tensor& packed, int64_t cols, int bits);

// i8 [rows, groups] -> i32 [ceil(rows * bits / 32), groups].
Tensor pack_zero_points(const Tensor& zero_points, int bits);
// The exact inverse: i8 [rows, groups].
Tensor unpack_zero_points(const Tensor& packed, int64_t rows, int bits);

// A linear layer's weight W [rows = out, cols = in] in packed form. Who makes one has checked that
// the shapes agree and that group_size divides cols.
struct PackedLinear {
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t group_size = 0;  // columns that share a scale; cols itself where a row is one group
  int bits = 4;
  Tensor packed;      // i32 [rows, ceil(cols * bits / 32)]
  Tensor scale;       // bf16 [rows, groups]
  Tensor zero_point;  // i32 [ceil(rows * bits / 32), groups]; empty when symmetric

  int64_t groups() const { return cols / group_size; }
  bool symmetric() const { return zero_point.empty(); }
};

// Shares the scales. Zero points are dropped where the scheme is symmetric.
PackedLinear pack_linear(const QuantizedWeight& weight, const QuantizationScheme& scheme,
                         ThreadPool* threads = nullptr);
// The exact inverse; zero points are all 0 where the weight is symmetric.
QuantizedWeight unpack_linear(const PackedLinear& linear);
// ŵ of one row into out [cols].
void dequantize_row(const PackedLinear& linear, int64_t row, std::span<float> out);

}  // namespace squint
