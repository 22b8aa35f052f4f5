// token_class.h: what a token is to the answers of its row.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace squint::quantize {

// Part of an image; of what the answer goes by; or a token whose state predicts a token of the
// answer. In a row without a chat every state predicts.
enum class TokenClass : uint8_t { image, prompt, answer };
inline constexpr size_t kTokenClasses = 3;

// What a token of each class counts in statistics.
using ClassWeights = std::array<double, kTokenClasses>;

}  // namespace squint::quantize
