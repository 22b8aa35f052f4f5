// edit_distance.h: Levenshtein distance in code points, sixty-four cells of the table at a time
// (Myers 1999, in blocks as by Hyyrö 2003), so that runaway outputs of thousands of characters cost
// no more than a moment.
#pragma once

#include <cstdint>
#include <string_view>

namespace squint::eval {

int64_t edit_distance(std::u32string_view a, std::u32string_view b);

// The smallest distance between `pattern` and any part of `text`, the empty one included.
int64_t best_window_distance(std::u32string_view pattern, std::u32string_view text);

// edit_distance over the longer length, of UTF-8 texts: 0 equal, 1 nothing in common.
double normalized_edit_distance(std::string_view a, std::string_view b);

}  // namespace squint::eval
