// card_rounding.h: Backend::round_adaptively on a card, in the arrangement of a matrix: products by
// cuBLAS, and between them a thread for each row (rounding.cu).
#pragma once

#include "backends/cuda/dense_algebra.h"
#include "backends/cuda/quantizer_kernels.h"
#include "ops/backend.h"

namespace squint::cuda {

SchemeArgs scheme_args(const QuantizationScheme& scheme);

// The weight and what is known of its inputs are on the card. Waits.
void round_on_card(const Tensor& weight, const AdaptiveRounding& how,
                   const QuantizationScheme& scheme, const QuantizedWeight& out, int index,
                   DenseAlgebra& algebra, cudaStream_t stream);

}  // namespace squint::cuda
