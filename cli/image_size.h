// image_size.h: "1024x768" on a command line.
#pragma once

#include <string>

#include "squint/fit.h"

namespace squint::cli {

// For CLI::Option::check: what is wrong with the value, or nothing.
std::string refuse_size(const std::string& text);
// Width, then height, of a text that passed the check.
ImageSize size_of(const std::string& text);

}  // namespace squint::cli
