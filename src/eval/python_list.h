// python_list.h: a Python list of strings as text, as VLMEvalKit's tables hold answers
// (spec ocrbench-data-hubs.md §1.3.3).
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace squint::eval {

// The strings of `['a', "b"]`; any other text is one string, as it stands. Throws Error(bad_input),
// naming `where`, for a list that is not one of strings.
std::vector<std::string> python_strings(std::string_view cell, std::string_view where);

}  // namespace squint::eval
