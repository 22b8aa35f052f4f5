// interrupt.h: Ctrl-C as a request to stop.
#pragma once

#include <stop_token>
#include <thread>

namespace squint::cli {

// While it lives, SIGINT and SIGTERM ask to stop; the second one ends the process at once. Must be
// made before any other thread.
class InterruptWatch {
 public:
  InterruptWatch();
  ~InterruptWatch();
  std::stop_token token() const { return source_.get_token(); }

 private:
  std::stop_source source_;
  std::thread watcher_;
};

}  // namespace squint::cli
