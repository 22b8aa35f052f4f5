// nearest_name.h: what somebody may have meant who mistyped a name.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace squint::quantize {

// Levenshtein's, in bytes; of `a` only the first 64 count.
size_t edit_distance(std::string_view a, std::string_view b);

// The first of the nearest of `known`, which is not empty.
std::string nearest(std::string_view name, std::span<const std::string_view> known);

}  // namespace squint::quantize
