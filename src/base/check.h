// check.h: invariants of our own. For what the world may get wrong, throw squint::Error.
#pragma once

#include "squint/error.h"

namespace squint {

[[noreturn]] void check_failed(const char* expression, const char* file, int line);

}  // namespace squint

#define SQUINT_CHECK(condition) \
  ((condition) ? static_cast<void>(0) : ::squint::check_failed(#condition, __FILE__, __LINE__))

#ifdef NDEBUG
#define SQUINT_DCHECK(condition) static_cast<void>(0)
#else
#define SQUINT_DCHECK(condition) SQUINT_CHECK(condition)
#endif
