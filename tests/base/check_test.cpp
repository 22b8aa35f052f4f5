#include "base/check.h"

#include <gtest/gtest.h>

#include <string>

namespace squint {
namespace {

TEST(Check, PassesSilently) {
  int evaluated = 0;
  SQUINT_CHECK(++evaluated == 1);
  EXPECT_EQ(evaluated, 1);
}

TEST(Check, SaysWhatAndWhere) {
  try {
    SQUINT_CHECK(1 + 1 == 3);
    FAIL() << "nothing was thrown";
  } catch (const InternalError& e) {
    const std::string message = e.what();
    EXPECT_NE(message.find("1 + 1 == 3"), std::string::npos);
    EXPECT_NE(message.find("check_test.cpp:"), std::string::npos);
  }
}

TEST(Check, IsNotAnError) {
  try {
    SQUINT_CHECK(false);
    FAIL() << "nothing was thrown";
  } catch (const Error&) {
    FAIL() << "a broken invariant is nobody's input";
  } catch (const InternalError&) {
  }
}

#ifdef NDEBUG
TEST(Check, DebugChecksAreFreeInRelease) {
  int evaluated = 0;
  SQUINT_DCHECK(++evaluated == 7);
  EXPECT_EQ(evaluated, 0);
}
#else
TEST(Check, DebugChecksThrowInDebug) { EXPECT_THROW(SQUINT_DCHECK(false), InternalError); }
#endif

}  // namespace
}  // namespace squint
