// hub_environment.h: what the environment says about the hubs, as their own programs read it.
#pragma once

#include "squint/pull.h"

namespace squint::cli {

// Sets endpoint, token, cache and certificates for options.hub. docs/pull.md lists the variables.
// Throws Error(usage) where a variable forbids the network, Error(io) for a token file that cannot
// be read.
void apply_environment(PullOptions& options);

}  // namespace squint::cli
