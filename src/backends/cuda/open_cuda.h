// open_cuda.h: a backend on an NVIDIA card, where this program was built with CUDA and the machine
// has one. Implemented twice: open_cuda.cpp, and without_cuda.cpp in builds without.
#pragma once

#include "squint/backend.h"

namespace squint::cuda {

// Card `index`, counted from 0. `host` computes what the card's backend leaves to the host.
// Throws Error(unsupported), which says what is missing: CUDA in this program, a driver, a card, a
// card that it was compiled for; Error(usage) for an index that the machine does not have.
BackendPtr open(int index, BackendPtr host, Arithmetic arithmetic);

// Cards that open would open; 0 where there is no driver. Throws nothing.
int cards();

}  // namespace squint::cuda
