#include "base/check.h"

#include <fmt/format.h>

namespace squint {

void check_failed(const char* expression, const char* file, int line) {
  throw InternalError(fmt::format("internal error: {} does not hold at {}:{}; please report this",
                                  expression, file, line));
}

}  // namespace squint
