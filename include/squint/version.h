// version.h
#pragma once

namespace squint {

inline constexpr const char* kVersion = "0.1.0";

}  // namespace squint
