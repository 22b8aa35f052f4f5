// quantize_plan.h: what a run will take, computed from what is known before it starts.
#pragma once

#include <cstdint>

#include "io/checkpoint.h"
#include "models/qwen3_vl/config.h"
#include "quantize/activations.h"
#include "quantize/module_schemes.h"
#include "squint/quantize.h"

namespace squint::quantize {

struct PlanInputs {
  const QuantizeOptions& options;
  const qwen3_vl::Config& config;
  const io::Checkpoint& checkpoint;
  const ModuleSchemes& schemes;
  const CalibrationSize& size;
  const CalibrationSize& held_out;
  int64_t resumed_layers = 0;
};

QuantizePlan make_plan(const PlanInputs& in);

// Throws Error(io) where the disk that is to hold `output` has no room for the plan.
void check_disk(const QuantizePlan& plan, const std::filesystem::path& output);

}  // namespace squint::quantize
