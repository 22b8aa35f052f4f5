// program.h: a program around its command line: errors as messages and exit codes.
#pragma once

#include "command.h"

namespace squint::cli {

// Parses the arguments, which runs what they ask for, and returns the exit code.
int run_program(CLI::App& app, const Outcome& outcome, int argc, char** argv);

}  // namespace squint::cli
