// fast_formats.cuh: how a weight comes into shared memory, and from there to tensor cores as bf16.
//
// A format says how a unit of 16 rows by 64 kPieces columns comes into shared memory, where a Feed
// goes through a row of units, and what a lane makes of it: fragment(piece, s) of 16 columns, s =
// 0 .. 3, to be multiplied with x at x_column(c, half) + 64 piece: eight values for two fragments.
#pragma once

#include "backends/cuda/fast_kernels.h"
#include "backends/cuda/mma.cuh"

namespace squint::cuda {

// (bits & 0x000f000f) | 0x43004300 in one instruction: two codes as bf16 of 128 + u.
__device__ __forceinline__ uint32_t codes_of(uint32_t bits) {
  uint32_t pair;
  asm("lop3.b32 %0, %1, %2, %3, 0xea;\n"
      : "=r"(pair)
      : "r"(bits), "r"(0x000f000fu), "r"(0x43004300u));
  return pair;
}

// Of groups of at least so many columns.
template <int kPiecesOfUnit>
struct TiledInt4 {
  static constexpr int kPieces = kPiecesOfUnit;
  static constexpr int kUnitBytes = kPieces * 512 + 64;
  static constexpr int kPadding = 16;
  static constexpr bool kScaled = true;
  // Codes come as 128 + u: what 128 + zero times Σ x is too much is taken away with the scale.
  static constexpr bool kShifted = true;
  __device__ static int x_column(int c, int half) { return c * 16 + half * 8; }

  struct Feed {
    const uint4* values;
    const uint32_t* groups;
    int shift;
    __device__ void begin(const FastMatrix& m, int tile, int pieces, int piece, int lane) {
      values = static_cast<const uint4*>(m.rows.values) +
               (static_cast<int64_t>(tile) * pieces + piece) * 32 + lane;
      groups = m.rows.groups + tile * m.rows.group_count * 16 + lane * 4;
      shift = m.group_shift;
    }
    __device__ void fetch(uint4* slot, int piece, int pieces, int lane) {
#pragma unroll
      for (int i = 0; i < kPieces; ++i) {
        // What is past the last column meets zeros of x, and must be finite.
        const bool inside = i == 0 || piece + i < pieces;
        copy_async(slot + 32 * i + lane, inside ? values + 32 * i : values, inside);
      }
      values += 32 * kPieces;
      if (lane < 4) copy_async(slot + 32 * kPieces + lane, groups + (piece >> shift) * 16);
    }
  };

  __device__ TiledInt4(const uint4* slot, int lane) {
#pragma unroll
    for (int i = 0; i < kPieces; ++i) words[i] = slot[32 * i + lane];
    const auto* groups = reinterpret_cast<const uint32_t*>(slot + 32 * kPieces);
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const uint32_t group = groups[lane / 4 + 8 * i];
      zeros[i] = __uint_as_float(group << 16);  // 128 + zero
      scales[i] = __uint_as_float(group & 0xffff0000u);
    }
  }
  __device__ void fragment(int piece, int s, uint32_t (&a)[4]) const {
    const uint4& v = words[piece];
    const uint32_t word = s == 0 ? v.x : s == 1 ? v.y : s == 2 ? v.z : v.w;
#pragma unroll
    for (int i = 0; i < 4; ++i) a[i] = codes_of(word >> (4 * i));
  }
  uint4 words[kPieces];
  float zeros[2];
  float scales[2];
};

// What rows g and g + 8 of a tile are in a matrix that is stored in rows; past the end the last
// one, which is not stored.
__device__ __forceinline__ int row_of(const FastMatrix& m, int tile, int row) {
  return min(tile * 16 + row, static_cast<int>(m.rows.out) - 1);
}

// Lane c has columns 16 c onwards of rows g and g + 8.
struct RowsInt8 {
  static constexpr int kPieces = 1;
  static constexpr int kUnitBytes = 1024 + 64;
  static constexpr int kPadding = 16;
  static constexpr bool kScaled = true;
  static constexpr bool kShifted = false;
  __device__ static int x_column(int c, int half) { return c * 16 + half * 8; }

  struct Feed {
    const uint4* rows[2];
    const uint32_t* groups;
    int vector;
    int vectors;
    int shift;
    __device__ void begin(const FastMatrix& m, int tile, int, int piece, int lane) {
      vectors = static_cast<int>(m.rows.row_vectors);
      vector = piece * 4 + lane % 4;
      for (int i = 0; i < 2; ++i) {
        rows[i] = static_cast<const uint4*>(m.rows.values) +
                  row_of(m, tile, lane / 4 + 8 * i) * m.rows.row_vectors;
      }
      groups = m.rows.groups + row_of(m, tile, lane % 16) * m.rows.group_count;
      shift = m.group_shift;
    }
    __device__ void fetch(uint4* slot, int piece, int, int lane) {
      const bool inside = vector < vectors;
      for (int i = 0; i < 2; ++i) {
        copy_async(slot + 32 * i + lane, rows[i] + (inside ? vector : 0), inside);
      }
      vector += 4;
      if (lane >= 16) return;
      asm volatile("cp.async.ca.shared.global [%0], [%1], 4;\n" ::"r"(
                       shared_address(reinterpret_cast<uint32_t*>(slot + 64) + lane)),
                   "l"(groups + (piece >> shift))
                   : "memory");
    }
  };

  __device__ RowsInt8(const uint4* slot, int lane) {
    const auto* groups = reinterpret_cast<const uint32_t*>(slot + 64);
    for (int i = 0; i < 2; ++i) {
      rows[i] = slot[32 * i + lane];
      const uint32_t group = groups[lane / 4 + 8 * i];
      zeros[i] = __uint_as_float(kTwoTo23 | (group & 0xffff));
      scales[i] = __uint_as_float(group & 0xffff0000u);
    }
  }
  // u - zero has eight bits and a sign: exact in bf16.
  __device__ void fragment(int, int s, uint32_t (&a)[4]) const {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const uint4& row = rows[i];
      const uint32_t word = s == 0 ? row.x : s == 1 ? row.y : s == 2 ? row.z : row.w;
      a[i] = bf16_pair(code(word, 0x7440) - zeros[i], code(word, 0x7441) - zeros[i]);
      a[i + 2] = bf16_pair(code(word, 0x7442) - zeros[i], code(word, 0x7443) - zeros[i]);
    }
  }
  static constexpr uint32_t kTwoTo23 = 0x4b000000;  // see weight_formats.cuh
  __device__ static float code(uint32_t word, uint32_t bytes) {
    return __uint_as_float(__byte_perm(word, kTwoTo23, bytes));
  }
  uint4 rows[2];
  float zeros[2];
  float scales[2];
};

// Lane c has columns 8 c onwards of both halves of 32, so that four lanes read side by side.
struct RowsBf16 {
  static constexpr int kPieces = 1;
  static constexpr int kUnitBytes = 2048;
  static constexpr int kPadding = 64;
  static constexpr bool kScaled = false;
  static constexpr bool kShifted = false;
  __device__ static int x_column(int c, int half) { return half * 32 + c * 8; }

  struct Feed {
    const uint4* rows[2];
    int vector;
    int vectors;
    __device__ void begin(const FastMatrix& m, int tile, int, int piece, int lane) {
      vectors = static_cast<int>(m.rows.row_vectors);
      vector = piece * 8 + lane % 4;
      for (int i = 0; i < 2; ++i) {
        rows[i] = static_cast<const uint4*>(m.rows.values) +
                  row_of(m, tile, lane / 4 + 8 * i) * m.rows.row_vectors;
      }
    }
    __device__ void fetch(uint4* slot, int, int, int lane) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int at = vector + i / 2 * 4;
        const bool inside = at < vectors;
        copy_async(slot + 32 * i + lane, rows[i % 2] + (inside ? at : 0), inside);
      }
      vector += 8;
    }
  };

  __device__ RowsBf16(const uint4* slot, int lane) {
#pragma unroll
    for (int i = 0; i < 4; ++i) vectors[i] = slot[32 * i + lane];
  }
  __device__ void fragment(int, int s, uint32_t (&a)[4]) const {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const uint4& v = vectors[s / 2 * 2 + i];
      a[i] = s % 2 == 0 ? v.x : v.z;
      a[i + 2] = s % 2 == 0 ? v.y : v.w;
    }
  }
  uint4 vectors[4];
};

}  // namespace squint::cuda
