// sample_report.h: the report of a run that never was: a model of any depth, with everything that a
// report can have.
#pragma once

#include <cstdint>

#include "squint/quantize.h"

namespace squint::test {

// Errors vary over layers and roles; layer 6 has one outlier, and in layer 3 a group is rolled
// back.
QuantizeReport sample_report(int64_t layers);

}  // namespace squint::test
