// clip.h: ranges by what they do to a layer's outputs (AutoAWQ's clip search, spec awq-w4a16.md
// §1.12): some weights of a group are cut off where the finer steps of the others are worth more.
#pragma once

#include <span>

#include "core/quantization.h"
#include "quantize/statistics.h"

namespace squint::quantize {

// Integers and scales of weight (f32 [out, in], on the host), rounded to nearest. Of 17 ranges of
// each group, from 110 % to 70 %, the one with the smallest e H eᵀ is taken: e is the group's
// error, H = E[x xᵀ] of the group's inputs. `columns` are the factors by which the weight's columns
// have been multiplied since `input` was observed; empty for ones.
//
// AutoAWQ's search differs: it has ten ranges from 100 % to 55 %, leaves out q and k, and measures
// on 512 tokens. H stands for all of them.
void round_clipped(Context& cx, const Tensor& weight, const InputStatistics& input,
                   std::span<const float> columns, const QuantizationScheme& scheme,
                   const QuantizedWeight& out);

}  // namespace squint::quantize
