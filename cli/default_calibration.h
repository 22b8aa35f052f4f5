// default_calibration.h: the calibration rows that come with the program.
#pragma once

#include <filesystem>
#include <optional>

namespace squint::cli {

// Of an installed program PREFIX/share/squint/calibration, of one in its build folder the source's
// data/calibration; nothing where neither is there.
std::optional<std::filesystem::path> default_calibration();

}  // namespace squint::cli
