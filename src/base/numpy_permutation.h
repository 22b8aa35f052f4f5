// numpy_permutation.h: numpy.random.default_rng(seed).permutation(n), number for number, so that a
// sample drawn here is the one that Python tools draw (spec ocrbench-data-hubs.md §3.5).
#pragma once

#include <cstdint>
#include <vector>

namespace squint {

// 0..n-1 in NumPy's order; n below 2^32.
std::vector<int64_t> numpy_permutation(uint64_t seed, int64_t n);

}  // namespace squint
