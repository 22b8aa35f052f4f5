#include "interrupt.h"

#include <pthread.h>
#include <unistd.h>

#include <cerrno>
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
      const int signal = next_signal(signals);
      if (signal == SIGUSR2) return;
      take(signal);
    }
  });
}

int InterruptWatch::next_signal(const sigset_t& signals) {
  std::string last_words;
  {
    const std::lock_guard lock(mutex_);
    if (asked_) last_words = last_words_;
  }
  int signal = 0;
  if (last_words.empty()) {
    sigwait(&signals, &signal);
    return signal;
  }
  constexpr timespec kPatience{.tv_sec = 0, .tv_nsec = 500'000'000};
  do signal = sigtimedwait(&signals, nullptr, &kPatience);
  while (signal < 0 && errno == EINTR);
  if (signal >= 0) return signal;
  last_words += '\n';
  // The process is about to end: nothing can be done about what was not written.
  [[maybe_unused]] const ssize_t written =
      write(STDERR_FILENO, last_words.data(), last_words.size());
  _exit(interrupted);
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

void InterruptWatch::insist(const std::string& last_words) {
  const std::lock_guard lock(mutex_);
  last_words_ = last_words;
}

InterruptWatch::~InterruptWatch() {
  pthread_kill(watcher_.native_handle(), SIGUSR2);
  watcher_.join();
}

}  // namespace squint::cli
