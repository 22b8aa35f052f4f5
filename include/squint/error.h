// error.h: the one exception type that leaves squint when the world is wrong.
//
// A message says what, where, expected, found and a likely cause. Broken invariants of our own are
// InternalError instead: nobody is expected to handle those.
#pragma once

#include <stdexcept>
#include <string>

namespace squint {

enum class ErrorCode {
  usage,          // the caller's options make no sense together
  bad_input,      // a file, image, row or configuration is not what it should be
  unsupported,    // well-formed, but nothing squint can do
  io,             // the operating system said no: missing, no permission, disk full
  out_of_memory,  // the machine or a stated limit has too little
  interrupted,    // asked to stop; what was finished is kept and can be resumed
};

class Error : public std::runtime_error {
 public:
  Error(ErrorCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  ErrorCode code() const { return code_; }

 private:
  ErrorCode code_;
};

// A broken invariant: a bug in squint, never the fault of its input.
class InternalError : public std::logic_error {
 public:
  using std::logic_error::logic_error;
};

}  // namespace squint
