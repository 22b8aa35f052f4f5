// held_out.h: calibration rows that no layer is calibrated on, and how far what a quantized model
// predicts in their answers is from what its base does.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <vector>

#include "quantize/activations.h"
#include "quantize/module_schemes.h"
#include "squint/quantize.h"

namespace squint::quantize {

// Takes rows that have answers out of `rows`, evenly spread: `count` of them, or, without one, a
// tenth, at most 64, and none where that would be fewer than 8: a set that small needs them itself.
// Error(usage) where so many rows have no answer, or none would be left.
std::vector<Conversation> hold_out(std::optional<int64_t> count, std::vector<Conversation>& rows);

struct HeldOutInputs {
  std::span<const Conversation> rows;
  const qwen3_vl::Processor& processor;
  std::filesystem::path base;
  std::filesystem::path quantized;
  ModuleSchemes plain;  // what the base is rounded to for comparison, ranges by minmax
};

// How often measure_held_out says that a row is done with something.
int64_t held_out_steps(int64_t rows, int64_t layers);

// All models go through the rows together, one layer in memory at a time. Nothing where no answer
// is left of the rows, as they may be cut.
std::optional<HeldOutReport> measure_held_out(Context& cx, const HeldOutInputs& in,
                                              const OnRows& on_rows);

}  // namespace squint::quantize
