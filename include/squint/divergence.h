// divergence.h: how far a model's predictions are from those of the model it was made from.
#pragma once

#include <cstdint>

namespace squint {

// Over some answer tokens: KL(base ‖ other) in nats, and the share whose most likely continuation
// is the same. Quantiles are interpolated linearly.
struct TokenDivergence {
  int64_t tokens = 0;
  double kl = 0;  // mean
  double median = 0;
  double p90 = 0;
  double p99 = 0;
  double max = 0;
  double top1 = 0;
};

}  // namespace squint
