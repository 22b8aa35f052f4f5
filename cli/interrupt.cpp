#include "interrupt.h"

#include <pthread.h>
#include <unistd.h>

#include <csignal>

#include "command.h"

namespace squint::cli {
namespace {

sigset_t watched_signals() {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGINT, SIGTERM, SIGUSR2}) sigaddset(&signals, signal);
  return signals;
}

}  // namespace

InterruptWatch::InterruptWatch() {
  // Blocked here and, by inheritance, in every later thread: only the watcher takes them.
  const sigset_t signals = watched_signals();
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  watcher_ = std::thread([this, signals] {
    while (true) {
      int signal = 0;
      sigwait(&signals, &signal);
      if (signal == SIGUSR2) return;
      take(signal);
    }
  });
}

void InterruptWatch::take(int signal) {
  std::stop_source source;
  {
    const std::lock_guard lock(mutex_);
    if (asked_) _exit(interrupted);
    asked_ = true;
    terminated_ = signal == SIGTERM;
    source = source_;
  }
  source.request_stop();
}

std::stop_token InterruptWatch::token() const {
  const std::lock_guard lock(mutex_);
  return source_.get_token();
}

std::stop_token InterruptWatch::renew() {
  const std::lock_guard lock(mutex_);
  if (asked_ && !terminated_) {
    source_ = std::stop_source();
    asked_ = false;
  }
  return source_.get_token();
}

InterruptWatch::~InterruptWatch() {
  pthread_kill(watcher_.native_handle(), SIGUSR2);
  watcher_.join();
}

}  // namespace squint::cli
