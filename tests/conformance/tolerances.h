// tolerances.h: how far a backend may be from the reference, by operator, and why.
//
// A value passes when |found - expected| <= abs + rel * |expected| + largest * max |expected|, the
// maximum over the whole tensor. Inputs are of order one. What is not listed must agree bit for
// bit: add, quantize_weight, quantization_error, the caches.
#pragma once

namespace squint::test {

struct Tolerance {
  float abs = 0;
  float rel = 0;
  float largest = 0;
};

// Both add in float32 in the same order; fused multiply-adds round once where the reference rounds
// twice. Rows are scaled to outputs of order one; the bound is of a sum of 1152 terms.
inline constexpr Tolerance kLinearTolerance{.abs = 4e-6f, .rel = 1e-6f};

// Factors are rounded to bf16, to 2^-9 of themselves at most, 8e-4 in the mean, both: 1.1e-3 of a
// sum's root mean square, of which five times may be met. A single product may be off by 2^-8.
inline constexpr Tolerance kFastLinearTolerance{.abs = 6e-3f, .largest = 6e-3f};

// Activations are rounded to bytes, a block's largest value, mostly 2 to 3 times its root mean
// square and at most 4, to 127: by 0.5 to 0.9 % of that in the mean; weights of eight bits by half
// as much. Of a sum's root mean square, which is up to half of its largest value, five times may be
// met.
inline constexpr Tolerance kByteLinearTolerance{.abs = 1e-2f, .largest = 1.5e-2f};

// The sum of squares runs in sixteen lanes there, in one here: a relative 1e-7 per addition, halved
// by the root, for rows of at most 1000 values.
inline constexpr Tolerance kRmsNormTolerance{.abs = 1e-7f, .rel = 2e-6f};

// A second such sum, and a difference of two terms of its size.
inline constexpr Tolerance kRmsNormGradientTolerance{.abs = 4e-6f, .rel = 4e-6f};

// As for attention; sums over up to 33 queries and 4 heads, of products of such weights.
inline constexpr Tolerance kAttentionGradientTolerance{.abs = 1e-5f, .rel = 1e-5f};

// As above, and x - mean loses what the two means differ by: 1e-7 times the mean, of at most 10.
inline constexpr Tolerance kLayerNormTolerance{.abs = 2e-5f, .rel = 2e-6f};

// Two products and a sum each; compilers of the reference may not fuse, nor do the kernels.
inline constexpr Tolerance kRotateTolerance{.abs = 2e-7f, .rel = 2e-7f};

// Scores of order ten are off by 1e-6 of themselves, which the exponential turns into a relative
// error of each weight; the weighted sum of values averages it.
inline constexpr Tolerance kAttentionTolerance{.abs = 2e-6f, .rel = 2e-6f};

// Queries and keys are rounded, which makes scores of order one uncertain by 1.1e-3, weights by as
// much of themselves; so are weights and values, each to 2^-9.
inline constexpr Tolerance kFastAttentionTolerance{.abs = 6e-3f, .largest = 6e-3f};

// A product of two such sums, one of them through a function that at most grows 1.1 times.
inline constexpr Tolerance kFastGatedTolerance{.abs = 1.2e-2f, .largest = 1.2e-2f};

// The same of bytes.
inline constexpr Tolerance kByteGatedTolerance{.abs = 2e-2f, .largest = 3e-2f};

// A polynomial exponential, good to 2e-7 relative, against the C library's.
inline constexpr Tolerance kSwigluTolerance{.abs = 1e-6f, .rel = 1e-6f};

// The same exponential. Left of zero 1 + tanh(u) cancels in the reference: 6e-8 times |x|.
inline constexpr Tolerance kGeluTanhTolerance{.abs = 1e-6f, .rel = 1e-6f};

// The C library's erf in both.
inline constexpr Tolerance kGeluErfTolerance{.abs = 0, .rel = 0};

// Another erf, within 2 ulp; left of zero 1 + erf(x) cancels: 1.2e-7 times |x|.
inline constexpr Tolerance kCudaGeluErfTolerance{.abs = 1e-6f, .rel = 1e-6f};

// Fused against unfused sums over at most 257 rows, added to values of order one.
inline constexpr Tolerance kSecondMomentTolerance{.abs = 4e-5f, .rel = 1e-6f};

// TF32: factors rounded to 2^-12 of themselves.
inline constexpr Tolerance kFastMomentTolerance{.abs = 4e-3f, .rel = 0, .largest = 4e-4f};

// The reference adds in the same order.
inline constexpr Tolerance kAbsSumTolerance{.abs = 0, .rel = 0};

// Sixteen lanes against one, rows of at most 1000 values of order one; totals in double.
inline constexpr Tolerance kDotTolerance{.abs = 1e-3f, .rel = 1e-6f};

// A division, two products and a difference, of which a compiler may fuse two.
inline constexpr Tolerance kRestoredTolerance{.abs = 1e-6f, .rel = 1e-6f};

// Backward stable in float32: relative to the square root of the two diagonals.
inline constexpr Tolerance kCholeskyTolerance{.abs = 0, .rel = 4e-6f};
// That, times how near to singular the test's matrices are.
inline constexpr Tolerance kCholeskySolveTolerance{.abs = 2e-4f, .rel = 0};

}  // namespace squint::test
