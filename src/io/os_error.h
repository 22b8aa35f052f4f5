// os_error.h: what the operating system said, as Error(io).
#pragma once

#include <filesystem>
#include <string_view>

namespace squint::io {

// "cannot ACTION PATH: REASON" for an errno value.
[[noreturn]] void throw_os_error(std::string_view action, const std::filesystem::path& path,
                                 int error);

}  // namespace squint::io
