// interrupt.h: Ctrl-C as a request to stop.
#pragma once

#include <csignal>
#include <mutex>
#include <stop_token>
#include <string>
#include <thread>

namespace squint::cli {

// While it lives, SIGINT and SIGTERM ask to stop; the second one ends the process at once. Must be
// made before any other thread.
class InterruptWatch {
 public:
  InterruptWatch();
  ~InterruptWatch();
  std::stop_token token() const;
  // Once a Ctrl-C has been answered and more is to come: a token for the next one, which counts as
  // the first again. After SIGTERM, the one that asked to stop: that signal means all of it.
  std::stop_token renew();
  // For work that may be cut off at any moment: what has not ended half a second after it was asked
  // to is ended then, with `last_words` on standard error.
  void insist(const std::string& last_words);

 private:
  int next_signal(const sigset_t& signals);
  void take(int signal);

  mutable std::mutex mutex_;
  std::stop_source source_;
  bool asked_ = false;
  bool terminated_ = false;
  std::string last_words_;  // empty: it may take as long as it likes
  std::thread watcher_;
};

}  // namespace squint::cli
