#include "io/os_error.h"

#include <fmt/format.h>

#include <system_error>

#include "squint/error.h"

namespace squint::io {

void throw_os_error(std::string_view action, const std::filesystem::path& path, int error) {
  throw Error(ErrorCode::io, fmt::format("cannot {} {}: {}", action, path.string(),
                                         std::generic_category().message(error)));
}

}  // namespace squint::io
