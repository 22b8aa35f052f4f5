// sampler.h: logits to a token (spec qwen3-vl.md §6.2). Pure but for the generator it draws from.
#pragma once

#include <cstdint>
#include <span>

#include "base/random.h"
#include "squint/engine.h"

namespace squint::runtime {

// `logits` are changed in place. prompt and output are the ids seen so far; ids outside the logits
// are ignored. Ties go to the smaller id.
int32_t sample(std::span<float> logits, std::span<const int32_t> prompt,
               std::span<const int32_t> output, const Sampling& sampling, Random& random);

// The largest; the first of equals.
int32_t argmax(std::span<const float> logits);

}  // namespace squint::runtime
