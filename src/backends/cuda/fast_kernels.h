// fast_kernels.h: what the device code of fast mode is handed. Activations are float32 as in exact
// mode; products take them rounded to bf16, and so do caches. Sums are float32.
//
// Workspace that several launches share is safe: a kernel that begins early waits for its
// predecessor before it reads or writes any (mma.cuh).
#pragma once

#include "backends/cuda/fast_plan.h"
#include "backends/cuda/kernels.h"

namespace squint::cuda {

// A weight as fast kernels want it: integers of four bits in tiles, the rest in rows.
//
// A tile holds 16 rows by 64 columns, half a kilobyte: lane = 4 g + c of a warp finds sixteen bytes
// with columns 16 c .. 16 c + 15 of rows g and g + 8. Word s of the four holds columns 16 c + 4 s
// onwards, as two halves which become a bf16 pair each: nibbles, from the lowest, are
//
//     g[0] g+8[0] g[2] g+8[2]   g[1] g+8[1] g[3] g+8[3]
//
// A row of tiles follows the other; what pads them to whole tiles is zero. Words of groups, 16 side
// by side for the rows of a tile, hold bf16 twice: the scale above 128 + the zero point.
struct FastMatrix {
  DeviceMatrix rows;  // values and groups are what the layout says
  bool tiled;
  int32_t group_shift;  // tiled: tile column >> group_shift is the group
};
constexpr int64_t kTileRows = 16;
constexpr int64_t kTileColumns = 64;

// From rows to tiles; both on the card. values [⌈out/16⌉, ⌈in/64⌉, 512 bytes], groups
// [⌈out/16⌉, group count, 16 words].
void tile_int4(const DeviceMatrix& from, void* values, uint32_t* groups, cudaStream_t stream);

// Rows [first, first + count) of the weight, first a multiple of 16, as bf16 [count, stride];
// columns from `in` on are zero.
void unpack_to_bf16(const FastMatrix& weight, int64_t first, int64_t count, int64_t stride,
                    void* out, cudaStream_t stream);

// out [rows, stride] = bf16(x [rows, n]), or of its rms_norm where there is a norm, of its
// layer_norm where that has a bias, or of its gelu. Zeros from n on.
struct RoundArgs {
  const float* x;
  const float* norm;       // or null
  const float* norm_bias;  // or null
  bool gelu;               // by tanh; without a norm
  float eps;
  int64_t rows;
  int64_t n;
  int64_t stride;
  void* out;
};
void round_to_bf16(const RoundArgs& args, cudaStream_t stream);

// One of the outputs [rows, weight.out] of a product.
struct FewRowsOutput {
  FastMatrix weight;
  const float* bias;  // or null
  float* out;
};
enum class Epilogue : uint8_t {
  store,
  add,   // to what is there
  gated  // outputs[0].out = silu(x · W0ᵀ) ∘ (x · W1ᵀ)
};
constexpr int kMostOutputs = 3;
// At most kFewRows rows of x [rows, in], or of its rms_norm, by one to three weights of one format
// (bf16, int8 or tiled int4) and one `in`.
struct FewRowsArgs {
  const float* x;
  const float* norm;  // or null
  float eps;
  int32_t rows;
  int32_t in;
  int32_t count;
  Epilogue epilogue;
  FewRowsOutput outputs[kMostOutputs];
  // Of split sums: kSplitFloats values, and kSplitTickets words of zero, which are zero again
  // afterwards.
  float* partial;
  uint32_t* tickets;
};
constexpr int64_t kSplitFloats = int64_t{1} << 20;
constexpr int64_t kSplitTickets = kMostSplitTiles;
// Whether the weight has that form, and the card room for a row of x.
bool fast_few_rows_apply(const FastMatrix& weight, const CardLimits& card);
void fast_few_rows(const FewRowsArgs& args, const CardLimits& card, cudaStream_t stream);

// gate = silu(gate) ∘ up, of n values: see pointwise. Here for the sake of vectors.
void gate_values(float* gate, const float* up, int64_t n, cudaStream_t stream);

// The same in bf16, both of whole sixteen bytes.
void gate_bf16(void* gate, const void* up, int64_t n, cudaStream_t stream);

// keys, values in bf16 [heads, capacity, stride]: what lies between head_dim and stride is zero.
struct FastCache {
  uint16_t* keys;
  uint16_t* values;
  int32_t stride;  // a multiple of eight
  int32_t capacity;
  int32_t length;
};
constexpr int kMostSlices = 64;
// Rows [begin, begin + count) of a batch, whose cache held `position` keys before they came.
struct FastSlice {
  FastCache cache;
  int32_t begin;
  int32_t count;
  int32_t position;
};

// Of a step that is recorded, to be run again with other caches: `slices` are in memory, and so is
// how many keys the cache of each holds before.
struct RecordedSlices {
  const FastSlice* slices;  // null: of a call that is not recorded
  const int32_t* filled;
};

// Heads on their way from a product to attention.
struct HeadsOfStep {
  const float* key;  // [tokens, kv_heads, head_dim]
  const float* value;
  const float* query_norm;  // [head_dim], or null: as it is, without rotation
  const float* key_norm;
  float eps;
  const float* cosine;  // [tokens, head_dim / 2]
  const float* sine;
};

struct AppendArgs {
  float* query;  // [tokens, heads, head_dim], or null
  HeadsOfStep from;
  int32_t heads;
  int32_t kv_heads;
  int32_t head_dim;
  int32_t count;
  FastSlice slices[kMostSlices];
};
// Query and key normalised and rotated, the query in place; key and value into the caches.
void append_fast(const AppendArgs& args, cudaStream_t stream);

struct FastAttention {
  const float* query;  // [tokens, heads, head_dim]
  float* out;
  int32_t heads;
  int32_t kv_heads;
  int32_t head_dim;
  float scale;
  bool causal;
  int32_t count;
  // Of decoding: parts of the cache side by side, joined by the block that ends last.
  float* partial;
  int64_t partial_floats;
  uint32_t* tickets;  // kSplitTickets words of zero
  // Of decoding, or without a key: query and key are still to be normalised and rotated, key and
  // value to be put into the caches, whose length counts them already.
  HeadsOfStep from;
  RecordedSlices recorded;
  FastSlice slices[kMostSlices];
};
// Few queries a slice, over long caches.
void attend_decode(const FastAttention& args, int multiprocessors, cudaStream_t stream);
// One slice, many queries; tiles as prefill_tiles says.
void attend_prefill(const FastAttention& args, int tiles, cudaStream_t stream);
// The same where hopper_attention_applies, on a card for which it was compiled.
bool hopper_attention_known();
void attend_prefill_hopper(const FastAttention& args, cudaStream_t stream);

}  // namespace squint::cuda
