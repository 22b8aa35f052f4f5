// kernels.h: what device code is handed: plain pointers into the card's memory, sizes, a stream.
//
// A launch returns at once. Whoever launches asks for the error (device_memory.h). Activations may
// begin at any multiple of four bytes; weights and caches are laid out here and begin at sixteen.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace squint::cuda {

enum class WeightFormat : uint8_t { f32, bf16, int8, int4 };

// W [out, in], row by row, each row padded with zeros to whole 16 bytes. Integers are unsigned, the
// lowest column in the lowest bits. A group's word holds its scale (bf16) above its zero point:
//     w = (u - zero) * scale
struct DeviceMatrix {
  WeightFormat format;
  int64_t in;
  int64_t out;
  const void* values;
  int64_t row_vectors;     // 16-byte pieces of a row
  const uint32_t* groups;  // [out, group_count], of integers
  int64_t group_count;
  int64_t group_columns;
};

// out [rows, W.out] = x [rows, W.in] · Wᵀ + bias; bias may be null.
struct LinearArgs {
  const float* x;
  int64_t rows;
  DeviceMatrix weight;
  const float* bias;
  float* out;
};
constexpr int64_t kFewRows = 8;
// rows <= kFewRows, and no 16-byte piece of the weight may lie in two groups.
void linear_few_rows(const LinearArgs& args, cudaStream_t stream);
void linear_many_rows(const LinearArgs& args, cudaStream_t stream);
// Which of the two.
bool few_rows_apply(const LinearArgs& args);

struct NormArgs {
  const float* x;
  const float* weight;
  const float* bias;  // layer_norm only
  float eps;
  int64_t rows;
  int64_t n;
  float* out;  // may be x
};
void rms_norm(const NormArgs& args, cudaStream_t stream);
void layer_norm(const NormArgs& args, cudaStream_t stream);

struct RotateArgs {
  const float* cosine;  // [tokens, half]
  const float* sine;
  int64_t tokens;
  int64_t heads;
  int64_t half;
  float* x;  // [tokens, heads, 2 * half]
};
void rotate(const RotateArgs& args, cudaStream_t stream);

// keys, values [heads, capacity, stride]: what lies between head_dim and stride is zero.
struct CacheView {
  float* keys;
  float* values;
  int64_t heads;
  int64_t head_dim;
  int64_t stride;  // floats, a multiple of four
  int64_t capacity;
  int64_t length;
};
// keys, values [tokens, heads, head_dim] to the positions from cache.length on.
void append_kv(const float* keys, const float* values, int64_t tokens, const CacheView& cache,
               cudaStream_t stream);

struct AttentionLaunch {
  const float* query;  // [tokens, heads, head_dim]
  int64_t tokens;
  int64_t heads;
  CacheView cache;
  int64_t first_position;
  bool causal;
  float scale;
  float* out;  // [tokens, heads, head_dim]
};
constexpr int64_t kMaxHeadDim = 128;
constexpr int64_t kDecodeTokens = 4;
void attention_prefill(const AttentionLaunch& args, cudaStream_t stream);
// At most kDecodeTokens tokens. Parts of the cache are attended to side by side, and joined from
// `workspace`.
void attention_decode(const AttentionLaunch& args, float* workspace, int64_t workspace_bytes,
                      cudaStream_t stream);

enum class Pointwise : uint8_t { swiglu, gelu_tanh, gelu_erf, add };
// out = op(a, b), of n values; add is out += a.
void pointwise(Pointwise op, const float* a, const float* b, float* out, int64_t n,
               cudaStream_t stream);
void scale_rows(const float* x, const float* factor, int64_t rows, int64_t n, float* out,
                cudaStream_t stream);

struct ArgmaxPlace {
  float value;
  int64_t at;
};
constexpr int64_t kArgmaxParts = 64;  // of a row
struct ArgmaxArgs {
  const float* x;  // [rows, n]
  int64_t rows;
  int64_t n;
  int64_t count;        // of the first values of a row
  ArgmaxPlace* places;  // [rows, kArgmaxParts], of the kernel's own
  int32_t* out;         // [rows]: the first of the largest
};
void argmax(const ArgmaxArgs& args, cudaStream_t stream);

// Whether this program holds code for the card in use.
bool kernels_run_here();

}  // namespace squint::cuda
