// divergence.h: predictions of many answer tokens summed up by what the tokens are, and by row.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "quantize/predictions.h"
#include "squint/compare.h"

namespace squint::eval {

// In the order of squint/compare.h.
std::vector<KindDivergence> summarize_kinds(std::span<const quantize::PredictedToken> tokens);

// Rows with the largest mean KL, at most `count`; of equals the first. Only row, tokens and kl are
// set.
std::vector<RowDivergence> worst_rows(std::span<const quantize::PredictedToken> tokens,
                                      int64_t count);

}  // namespace squint::eval
