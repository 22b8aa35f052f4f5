// quantize_plan.h: what a run will take, computed from what is known before it starts.
#pragma once

#include <cstdint>

#include "io/checkpoint.h"
#include "models/qwen3_vl/config.h"
#include "quantize/activations.h"
#include "quantize/module_schemes.h"
#include "quantize/work_rates.h"
#include "squint/quantize.h"

namespace squint::quantize {

struct PlanInputs {
  const QuantizeOptions& options;
  const qwen3_vl::Config& config;
  const io::Checkpoint& checkpoint;
  const ModuleSchemes& schemes;
  const CalibrationSize& size;
  const CalibrationSize& held_out;
  WorkRates rates;
  int64_t resumed_layers = 0;
  int64_t held_bytes = 0;       // by what has been read
  double checking_seconds = 0;  // of everything outside of the text layers
  double reading_seconds = 0;   // of all rows, once
};

QuantizePlan make_plan(const PlanInputs& in);

// Throws Error(bad_input) where the plan needs more than options.memory_bytes, Error(io) where the
// disk that is to hold the output has no room for it.
void check_plan(const QuantizePlan& plan, const QuantizeOptions& options);

}  // namespace squint::quantize
