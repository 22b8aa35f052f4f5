// positions.h: where tokens and patches stand, and the rotary tables that follow from it.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "core/tensor.h"
#include "models/qwen3_vl/config.h"
#include "models/qwen3_vl/image_processor.h"
#include "ops/host_work.h"

namespace squint::qwen3_vl {

// Positions of a token on the three axes: time, height, width.
using Position = std::array<int64_t, 3>;

// A run of image tokens in a prompt.
struct ImageRun {
  int64_t begin = 0;   // index of its first token
  int64_t tokens = 0;  // grid.h * grid.w / merge²
  Grid grid;
};

struct PromptPositions {
  std::vector<Position> tokens;
  int64_t next = 0;  // of the first generated token, on all axes
  // next - number of tokens, what the reference calls rope_delta
  int64_t delta() const { return next - static_cast<int64_t>(tokens.size()); }
};

// Spec qwen3-vl.md §5.2. Runs are ascending and lie inside the prompt.
PromptPositions prompt_positions(int64_t num_tokens, std::span<const ImageRun> runs,
                                 int64_t merge_size);

// cos and sin of position * frequency, f32 [tokens, head_dim / 2] in host memory.
struct RotaryTable {
  Tensor cosine;
  Tensor sine;
};

// Interleaved three-axis rotary embedding of the language model (spec §5.3).
RotaryTable text_rotary(std::span<const Position> positions, const TextConfig& config,
                        const HostWork& host = {});
// Two-axis rotary embedding of the vision tower, patches in block order (spec §4.3).
RotaryTable vision_rotary(const Grid& grid, const VisionConfig& config, const HostWork& host = {});

// Learned position embeddings interpolated to the grid, f32 [patches, hidden] in block order
// (spec §4.2). table [positions, hidden].
Tensor interpolated_positions(const Tensor& table, const Grid& grid, const VisionConfig& config,
                              const HostWork& host = {});

}  // namespace squint::qwen3_vl
