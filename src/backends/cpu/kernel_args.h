// kernel_args.h: what the CPU kernels are handed: plain pointers and sizes.
//
// This file and the kernels include nothing else of ours, and their functions are templates over
// the vector type or static: an inline function shared with ordinary code could survive linking in
// its AVX-512 form.
//
// Weights are stored in panels of 16 output features, so that one vector holds the same column of
// 16 rows. Every output element is one chain of fused multiply-adds over k = 0, 1, 2, ...: its
// value depends neither on the number of rows computed together, nor on threads, nor on the vector
// width.
#pragma once

#include <cstdint>

namespace squint::cpu {

inline constexpr int64_t kLanes = 16;       // output features in a panel, floats in a vector
inline constexpr int64_t kBlockRows = 256;  // rows of x that share one unpacked block of weights
inline constexpr int64_t kBlockCols = 256;  // columns of that block: 16 KiB, half of the L1 cache

enum class PanelFormat : uint8_t {
  f32,   // [panels][in][16] float
  bf16,  // [panels][in][16] uint16
  int8,  // [panels][in][16] uint8, code + 128
  int4,  // [panels][in][8] uint8: low nibbles are lanes 0-7, high nibbles 8-15; code + 8
};

struct Panels {
  PanelFormat format;
  const void* values;
  const float* scales;  // [panels][groups][16], integer formats only
  const float* zeros;   // [panels][groups][16], in the offset codes' terms (8 or 128 if symmetric)
  int64_t in;
  int64_t out;
  int64_t group_columns;  // in for dense formats
};

struct GemmArgs {
  const float* x;  // [rows, in]
  int64_t rows;
  Panels weight;
  const float* bias;  // [out] or null
  float* out;         // [rows, out]
  int64_t panel_begin;
  int64_t panel_end;
};

// Keys lie in tiles of 16 positions, [kv_heads][capacity / 16][head_dim][16]; values in rows,
// [kv_heads][capacity][value_stride]. Capacity is a multiple of 16, value_stride of 16.
struct AttentionTask {
  const float* query;  // [tokens, heads, head_dim]
  int64_t heads;
  const float* keys;
  const float* values;
  int64_t kv_heads;
  int64_t head_dim;
  int64_t value_stride;
  int64_t capacity;
  int64_t length;
  int64_t first_position;
  bool causal;
  float scale;
  float* out;       // [tokens, heads, head_dim]
  int64_t kv_head;  // this task
  int64_t token_begin;
  int64_t token_end;
  float* scratch;  // kAttentionRows * (head_dim + keys rounded up to 16 + 16) floats
};

inline constexpr int64_t kAttentionRows = 32;  // (query, head) pairs scored together

struct NormArgs {
  const float* x;  // [rows, n]
  const float* weight;
  const float* bias;  // null for RMS
  float eps;
  int64_t n;
  float* out;
  int64_t row_begin;
  int64_t row_end;
};

struct NormGradientArgs {
  const float* x;  // [rows, n]
  const float* weight;
  float eps;
  int64_t n;
  const float* d_out;
  float* d_x;
  int64_t row_begin;
  int64_t row_end;
};

struct SwigluGradientArgs {
  const float* gate;
  const float* up;
  const float* d_out;
  float* d_gate;
  float* d_up;
  int64_t begin;  // a multiple of 16
  int64_t end;
};

// One key/value head of a sequence; rows as in AttentionGradientArgs.
struct AttentionGradientTask {
  const float* query;  // [tokens, heads, head_dim]
  const float* key;    // [tokens, kv_heads, head_dim]
  const float* value;
  const float* d_out;
  float* d_query;
  float* d_key;
  float* d_value;
  int64_t tokens;
  int64_t heads;
  int64_t kv_heads;
  int64_t head_dim;
  float scale;
  int64_t kv_head;  // this task
  float* scratch;   // 2 * tokens rounded up to 16 floats
};

struct RotateArgs {
  const float* cosine;  // [tokens, half]
  const float* sine;
  int64_t heads;
  int64_t half;
  float* x;  // [tokens, heads, 2 * half]
  int64_t token_begin;
  int64_t token_end;
};

enum class Pointwise : uint8_t { swiglu, gelu_tanh, add };

struct PointwiseArgs {
  Pointwise op;
  const float* a;
  const float* b;  // swiglu: up
  float* out;
  int64_t begin;  // a multiple of 16
  int64_t end;
};

// Of this many tokens at a time: a panel of them and six features stay in the first cache.
inline constexpr int64_t kMomentTokens = 256;

struct MomentArgs {
  const float* x;  // [n, tokens]: rows of out
  const float* y;  // [ceil(n / 16), tokens, 16]: columns of out, with zeros behind the last
  int64_t tokens;
  int64_t n;
  float* out;     // [n, n]
  int64_t panel;  // columns 16 * panel ...
};

struct ColumnSumArgs {
  const float* x;  // [rows, n]
  int64_t rows;
  int64_t n;
  float* out;  // [n]
};

struct QuantizeArgs {
  const uint16_t* weight;  // bf16 [rows, in]
  const float* smooth;     // [in] or null
  int64_t in;
  int64_t group_columns;
  float lowest;
  float highest;
  bool symmetric;
  bool signed_scales;   // symmetric only
  int steps;            // ranges tried; 1 is min/max
  const float* errors;  // [32768]: round(|e|^2.4) by the bf16 bits of |e|, when steps > 1
  int8_t* codes;        // [rows, in]
  uint16_t* scales;     // bf16 [rows, groups]
  int8_t* zeros;        // [rows, groups]
  uint32_t improved;    // out: bit i says that some group improved at step i
  float* error;         // quantization_error: f32 [rows, in]
  int64_t row_begin;
  int64_t row_end;
};

// Rounded one after the other before all other columns hear of it, which are told by so many at a
// time: a tile of their factors and a panel's changes stay in the first cache.
inline constexpr int64_t kRoundingBlock = 128;
inline constexpr int64_t kRoundingTile = 64;
// Panels of 16 rows for which a tile is read once.
inline constexpr int64_t kRoundingPanels = 8;

// At most 16 * kRoundingPanels rows; see AdaptiveRounding.
struct RoundingArgs {
  const float* weight;      // [rows, in]
  const float* importance;  // [in]
  const float* hessian;     // [in, in] or null
  const float* feedback;    // [in, in] or null
  const int32_t* order;     // [in]
  bool search;
  int rounds;
  int64_t in;
  int64_t group_columns;
  float lowest;
  float highest;
  bool symmetric;
  bool signed_scales;  // symmetric only
  int8_t* codes;
  uint16_t* scales;
  int8_t* zeros;
  int64_t row_begin;
  int64_t row_end;
  float* scratch;  // rounding_scratch() floats
};

inline constexpr int64_t rounding_panel_floats(int64_t in, int64_t groups) {
  return (4 * in + 4 * groups) * kLanes;
}

inline constexpr int64_t rounding_scratch(int64_t in, int64_t groups, int64_t panels) {
  return kRoundingBlock * (kRoundingTile + kRoundingBlock) +
         panels * (rounding_panel_floats(in, groups) + kRoundingBlock * kLanes);
}

}  // namespace squint::cpu
