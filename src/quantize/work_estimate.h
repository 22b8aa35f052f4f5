// work_estimate.h: how long a run will take: what each phase does, over how fast this machine does
// it.
#pragma once

#include <vector>

#include "models/qwen3_vl/config.h"
#include "quantize/activations.h"
#include "quantize/work_rates.h"
#include "squint/quantize.h"

namespace squint::quantize {

struct WorkInputs {
  const QuantizeOptions& options;
  const qwen3_vl::Config& config;
  const CalibrationSize& size;
  int64_t held_out_tokens = 0;
  int64_t resumed_layers = 0;
  int64_t source_bytes = 0;  // of the layers that are read
  int64_t output_bytes = 0;
  double bytes_a_second = 0;   // read and checked
  double reading_seconds = 0;  // of all rows, once
};

// By the names that RunReport has for them.
std::vector<QuantizePlan::Phase> estimate_phases(const WorkInputs& in, const WorkRates& rates);

}  // namespace squint::quantize
