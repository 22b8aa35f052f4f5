// fast_kernel_args.h: what the kernels of fast mode are handed. As kernel_args.h: plain pointers
// and sizes, nothing else of ours.
//
// Columns come in blocks of 32, of which the activations share a scale: in bytes, they meet weights
// of four or eight bits in exact integer sums, and only a block's sum becomes a float. Per element
//
//     part = Σ_blocks of a group  float(Σ_k (u - middle) q) * x_scale   (+ zero's share)
//     out  = Σ_groups             part * w_scale
//
// each one chain of fused multiply-adds in ascending order, u the stored code, middle 8 or 128.
//
// Weights lie in strips of 64 outputs, four panels of sixteen. A product reads a strip from its
// first byte to its last:
//
//     codes   [strips][blocks][4 panels][steps][16 outputs][4 columns]
//
// A step is 64 bytes. Of each eight columns the even ones come first: in four bits one step holds
// both, the even ones below, which is how checkpoints store a word; in eight bits they are two
// steps. Columns past the last have activations of 0, outputs past the last are not stored.
#pragma once

#include <cstdint>

namespace squint::cpu {

inline constexpr int64_t kCodeBlock = 32;   // columns
inline constexpr int64_t kStripPanels = 4;  // of 16 outputs
inline constexpr int64_t kStripRows = 64;

inline constexpr int64_t panel_block_bytes(int bits) { return kCodeBlock * 16 * bits / 8; }

struct CodeStrips {
  const uint8_t* codes;
  const uint16_t* scales;  // bf16 [strips][groups][64]
  const uint8_t* zeros;    // [strips][groups][64]: a zero point's code; null where it is the middle
  int bits;
  int64_t out;
  int64_t blocks;
  int64_t group_blocks;
  int64_t groups;  // the last may be shorter
};

struct BytePlane {
  int8_t* codes;           // [rows][blocks][32], of each eight columns the even ones first
  float* scales;           // [rows][blocks]
  int32_t* negative_sums;  // [rows][blocks]: -Σ codes
};

// Activations: x ≈ code * scale, of the first plane. Where one value of a block is much larger than
// the others, that rounds them away: what is left goes into the second plane.
struct ByteRows {
  BytePlane first;
  BytePlane second;
  uint8_t* twice;  // [rows][blocks]: whether the second counts; else its codes and scales are 0
  int64_t blocks;
};

struct ToBytesArgs {
  const float* x;  // [rows, n]
  int64_t n;
  int64_t rows;
  float most_crest;  // a block's largest value by its root mean square, for one plane to do
  ByteRows out;
};

struct CodeProductArgs {
  ByteRows x;
  int64_t rows;
  CodeStrips weight;
  const CodeStrips* up;  // where given: out = silu(x · weight) ∘ (x · up)
  const float* bias;     // [out] or null
  float* out;            // [rows, out]
  bool add;              // to what is there
  int64_t strip_begin;
  int64_t strip_end;
};

// Keys and values in bf16, laid out as for AttentionTask. A task is the queries that share a
// key/value head, and a block of keys; what it finds is put together with that of other blocks in
// order, so that neither threads nor batches change a bit.
inline constexpr int64_t kKeyBlock = 256;
inline constexpr int64_t kFastAttentionRows = 32;  // (query, head) pairs

// Of each row: the largest score, Σ e^(score - largest), Σ e^(score - largest) value.
struct AttentionPart {
  float* largest;  // [rows]
  float* sums;     // [rows]
  float* mixed;    // [rows][value_stride]
};

struct KeyBlockTask {
  const float* queries;  // [rows][head_dim]
  int64_t rows;
  const int64_t* visible;  // [rows]: keys of this block that a row may see; 0 or less for none
  const uint16_t* keys;    // [tiles of 16][head_dim][16], from the block's first key
  const uint16_t* values;  // [keys][value_stride]
  int64_t count;           // keys of the block
  int64_t head_dim;
  int64_t value_stride;
  float scale;
  AttentionPart out;
  float* scores;  // scratch: [rows][kKeyBlock]
};

struct MergeTask {
  int64_t rows;
  int64_t value_stride;
  const int64_t* visible;  // rows that saw nothing of `part` stay as they are
  AttentionPart total;
  AttentionPart part;
};

}  // namespace squint::cpu
