// phases.h: names of a run's phases that both the plan and the run speak of.
#pragma once

namespace squint::quantize {

inline constexpr const char* kVisionPhase = "images";
inline constexpr const char* kGradientPhase = "which tokens matter";
inline constexpr const char* kRoundingPhase = "scales and rounding";
inline constexpr const char* kHeldOutPhase = "held-out rows";

}  // namespace squint::quantize
