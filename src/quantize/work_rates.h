// work_rates.h: how fast this machine does what a run consists of, from short samples of each.
#pragma once

#include "ops/backend.h"

namespace squint::quantize {

// A second holds so many of these on the backend's threads, where nothing else takes their time.
struct WorkRates {
  double product = 0;       // multiplications of a matrix product
  double moment = 0;        // of Σ x xᵀ
  double search = 0;        // weights whose range is chosen by mse
  double range_search = 0;  // weights whose range is chosen by weighted error
  double pass = 0;          // weights of which errors are taken
  double feedback = 0;      // multiplications of rounding with feedback
  double descent = 0;       // of a round of descent
  double hash = 0;          // bytes; on one thread
};

// Takes about a tenth of a second.
WorkRates measure_rates(Backend& backend);

}  // namespace squint::quantize
