// standard_input.h: what a pipe brings, and whether there is one.
#pragma once

#include <cstdint>
#include <stop_token>
#include <string>

namespace squint::cli {

// A person types, and sees what is printed.
bool is_conversation();
bool input_is_terminal();

// Waits until there is something to read; false when asked to stop before.
bool wait_for_input(const std::stop_token& stop);

// All of standard input. `what` it is stands in messages. Throws Error(bad_input) where it is
// longer than max_bytes, Error(io) where it cannot be read, Error(interrupted) when asked to stop.
std::string read_input(const char* what, int64_t max_bytes, const std::stop_token& stop);

}  // namespace squint::cli
