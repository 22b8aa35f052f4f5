// verify_linear.h: how far a stored linear layer is from the one of the base model.
//
// Smoothing multiplies the columns of a layer and divides what feeds it: a norm's gains, or the
// rows of the layer before. It is undone before weights are compared, so that what is measured is
// the function:
//
//     columns   known: gain of the norm now / then, or the row factors of the layer before
//     rows      fitted: t[r] = <ŵ[r], w[r]> / <w[r], w[r]>, since nothing stores them
//
// Rows that vary no more than the fit's own noise count as unchanged. A fit can hide that a row of
// v_proj or up_proj is wrongly scaled, but not for long: its factor is the column factor of the
// next layer, whose error shows it.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "base/thread_pool.h"
#include "core/tensor.h"
#include "io/packed_layers.h"
#include "squint/verify.h"

namespace squint::quantize {

struct LinearComparison {
  const io::PackedLayer* packed = nullptr;  // or, where null:
  Tensor dense;                             // f32, bf16 or f16, the shape of base
  Tensor base;                              // [rows, cols]
  std::vector<float> columns;               // [cols]: gain of the layer's input, now over then
  bool fits_rows = false;
};

class LinearVerifier {
 public:
  explicit LinearVerifier(ThreadPool& pool) : space_(pool) {}

  // Sets error and excess of `out`, and adds its problem where the error is not that of rounding:
  // words packed in another order than `declared`, zero points off by one, smoothing that nothing
  // undoes, other weights. Returns the row factors: ones unless they are fitted.
  std::vector<float> verify(const LinearComparison& comparison, const io::PackedReading& declared,
                            VerifiedLinear& out);

  // Rows being compared, two buffers a worker, kept from layer to layer.
  struct Workspace {
    explicit Workspace(ThreadPool& with)
        : pool(with), buffers(static_cast<size_t>(2 * with.size())) {}
    std::array<std::span<float>, 2> rows(int worker, int64_t values);

    ThreadPool& pool;
    std::vector<std::vector<float>> buffers;
  };

 private:
  Workspace space_;
};

}  // namespace squint::quantize
