// error_of.h: the message of an error that a test expects.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "squint/error.h"

namespace squint::test {

// Runs `action`, which must throw Error with `code`, and returns what it said.
template <class Action>
std::string error_of(ErrorCode code, Action&& action) {
  try {
    action();
  } catch (const Error& e) {
    EXPECT_EQ(static_cast<int>(e.code()), static_cast<int>(code)) << e.what();
    return e.what();
  }
  ADD_FAILURE() << "no error was thrown";
  return "";
}

inline ::testing::AssertionResult says(const std::string& message, const std::string& part) {
  if (message.find(part) != std::string::npos) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure() << "\"" << part << "\" is not in: " << message;
}

}  // namespace squint::test
