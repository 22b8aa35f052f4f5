// quantizer_kernels.h: device code of what only the quantizer asks for. As in kernels.h: plain
// pointers into the card's memory; whoever launches asks for the error.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace squint::cuda {

// out [n] += Σ over rows |x [rows, n]|, in the order of the rows.
void add_abs_sum(const float* x, int64_t rows, int64_t n, float* out, cudaStream_t stream);
// out [rows] = Σ a[:, first + i] b[:, i], i < n; a has `stride` columns.
void row_dots(const float* a, int64_t stride, int64_t first, const float* b, int64_t rows,
              int64_t n, float* out, cudaStream_t stream);

// See Backend. *infinite becomes 1 where a value is not finite.
void combine(float a, const float* x, float b, float* out, int64_t count, cudaStream_t stream);
void finish_moment(float* m, int64_t n, double weight, int* infinite, cudaStream_t stream);
void divide_columns(float* m, int64_t rows, int64_t n, double divisor, const float* factors,
                    int* infinite, cudaStream_t stream);
void diagonal(const float* m, int64_t n, float* out, cudaStream_t stream);
void add_to_diagonal(float* m, int64_t n, double relative, double absolute, cudaStream_t stream);
void reorder(const float* m, int64_t n, const int32_t* order, float* out, cudaStream_t stream);
void make_feedback(float* factor, int64_t n, cudaStream_t stream);

struct ScaleArgs {
  const uint16_t* weight;       // bf16 [rows, in]
  const float* column_factors;  // [in] or null
  const float* row_factors;     // [rows] or null
  int64_t rows;
  int64_t in;
  float* out;         // f32, or null:
  uint16_t* rounded;  // bf16
};
void scale_weight(const ScaleArgs& args, cudaStream_t stream);

struct SchemeArgs {
  float lowest;
  float highest;
  bool symmetric;
  bool signed_scales;  // symmetric only
};

// See CPU's quantize_kernel.h: the same bits.
struct GroupRoundingArgs {
  const uint16_t* weight;  // bf16 [rows, in]
  int64_t rows;
  int64_t in;
  int64_t group_columns;
  SchemeArgs scheme;
};
struct ObserverArgs {
  int steps;            // ranges tried; 1 is min/max
  const float* errors;  // [32768], by the bits of |e| in bf16, when steps > 1
  int8_t* codes;        // [rows, in]
  uint16_t* scales;     // bf16 [rows, groups]
  int8_t* zeros;        // [rows, groups]
  uint32_t* improved;   // bit i is set where some group improved at step i
};
void quantize_groups(const GroupRoundingArgs& args, const ObserverArgs& how, cudaStream_t stream);
// smooth [in] or null; error [rows, in]
void group_errors(const GroupRoundingArgs& args, const float* smooth, float* error,
                  cudaStream_t stream);

struct RestoredArgs {
  const int8_t* codes;          // [rows, in]
  const uint16_t* scales;       // bf16 [rows, groups]
  const int8_t* zeros;          // [rows, groups]
  const float* column_factors;  // [in] or null
  const float* row_factors;     // [rows] or null
  const uint16_t* weight;       // bf16 [rows, in]
  int64_t rows;
  int64_t in;
  int64_t group_columns;
  float* error;  // [rows, in]
};
void restored_errors(const RestoredArgs& args, cudaStream_t stream);

// Rounding that looks at the whole row: see backends/cpu/rounding_kernel.h. Here a thread is a row,
// so matrices are [columns, rows].
struct RowsArgs {
  int64_t rows;
  int64_t in;
  int64_t group_columns;
  SchemeArgs scheme;
  const float* weight;  // [in, rows]
  float* codes;         // [in, rows], the zero point taken off
  float* scales;        // [groups, rows]
  float* zeros;         // [groups, rows]
};
constexpr int64_t kColumnsAtOnce = 64;  // of what goes on within a thread

void transpose(const float* from, int64_t rows, int64_t columns, float* to, cudaStream_t stream);
// to [count, columns] = rows order[0 .. count) of `from`
void gather_rows(const float* from, const int32_t* order, int64_t count, int64_t columns, float* to,
                 cudaStream_t stream);
// Scales and zero points. importance [in]; without `search` the whole range.
void find_ranges(const RowsArgs& args, const float* importance, bool search, cudaStream_t stream);
void round_alone(const RowsArgs& args, cudaStream_t stream);
// Columns order[0 .. count), which stand at `first` in the order: targets [count, rows] hold what
// earlier errors made of the weights; feedback is at [first, first] of a matrix of `in` columns.
// errors [count, rows] = w - ŵ.
void round_block(const RowsArgs& args, const int32_t* order, int64_t count, const float* feedback,
                 const float* targets, float* errors, cudaStream_t stream);
// errors [in, rows] = w - ŵ
void rounding_errors(const RowsArgs& args, float* errors, cudaStream_t stream);
// A step of the scale of group `group`: residual [in, rows] = E H; products [group columns, rows] =
// H c of the group's columns, overwritten with what the step changes of ŵ.
void refit_scales(const RowsArgs& args, int64_t group, const float* first_scales,
                  const float* residual, float* products, cudaStream_t stream);
// Integers of columns order[0 .. count); changes [count, rows] = the change of ŵ.
void move_integers(const RowsArgs& args, const int32_t* order, int64_t count, const float* hessian,
                   const float* residual, float* changes, cudaStream_t stream);
// As QuantizedWeight keeps them: codes [rows, in], scales bf16 and zero points [rows, groups].
void store_codes(const RowsArgs& args, int8_t* codes, uint16_t* scales, int8_t* zeros,
                 cudaStream_t stream);

}  // namespace squint::cuda
