// json.h: the library's parser for tests: instantiating nlohmann's own in each of them takes
// seconds a file, under sanitizers ten.
#pragma once

#include <nlohmann/json.hpp>

#include "base/json.h"

namespace squint::test {

inline Json json_of(std::string_view text) { return parse_json(text, "test"); }

}  // namespace squint::test
