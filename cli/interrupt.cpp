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
    for (int asked = 0;; ++asked) {
      int signal = 0;
      sigwait(&signals, &signal);
      if (signal == SIGUSR2) return;
      if (asked > 0) _exit(interrupted);
      source_.request_stop();
    }
  });
}

InterruptWatch::~InterruptWatch() {
  pthread_kill(watcher_.native_handle(), SIGUSR2);
  watcher_.join();
}

}  // namespace squint::cli
