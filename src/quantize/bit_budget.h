// bit_budget.h: which layers get more bits where a budget allows a few.
//
// A unit of layers that loaders fuse has one of several numbers of bits. What each would lose is
// measured, and of all choices within the budget the one with the least sum is taken: a
// multiple-choice knapsack.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "quantize/block_quantizer.h"
#include "quantize/module_schemes.h"

namespace squint::quantize {

struct BitOption {
  int64_t size = 0;
  double loss = 0;
};

// Which option of each unit, given by rising size, has the least summed loss at a summed size of at
// most `capacity`; the smaller of equals. Sizes are counted in steps of what divides them all, or
// of 1/65536 of what there is to give away, whichever is larger, and rounded up: exact where a
// model's widths have a large common divisor, as real ones do, and never over. Needs room for the
// smallest of each.
std::vector<size_t> least_loss(std::span<const std::vector<BitOption>> units, int64_t capacity);

// What the units of a layer lose at 4 and at 8 bits: Σ (‖error of the output‖ / ‖output‖)² over
// their layers, smoothed and rounded as by the plan, without feedback.
std::vector<SensitivityReport> measure_sensitivity(Context& cx,
                                                   const qwen3_vl::DecoderBlockWeights& stored,
                                                   const qwen3_vl::TextConfig& config,
                                                   int64_t layer, BlockPlan plan,
                                                   const BlockObserver* observer);

// Changes the schemes that no override names to 4, 8 or 16 bits, so that a weight has
// options.budget bits on average, scales and zero points counted, and notes the choice in
// `sensitivity`, which has all units in order. `shapes`: [out, in]
// by role. Throws
// Error(usage) where the smallest choice takes more.
void spend_budget(const QuantizeOptions& options,
                  const std::array<Shape, qwen3_vl::kLinearRoles>& shapes,
                  std::vector<SensitivityReport>& sensitivity, ModuleSchemes& schemes);

}  // namespace squint::quantize
