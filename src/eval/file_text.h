// file_text.h: a whole file as bytes, within a limit.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

namespace squint::eval {

inline constexpr int64_t kMaxTextFile = int64_t{1} << 30;

// Error(io) where the file cannot be read, Error(bad_input) where it is larger than `max_bytes`.
std::string read_file_text(const std::filesystem::path& path, int64_t max_bytes = kMaxTextFile);

}  // namespace squint::eval
