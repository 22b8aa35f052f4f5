#include "standard_input.h"

#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <system_error>

#include "squint/error.h"

namespace squint::cli {
namespace {

// Signals go to a thread of their own, so nothing here is woken by one.
constexpr int kLookMilliseconds = 50;

}  // namespace

bool input_is_terminal() { return isatty(STDIN_FILENO) != 0; }
bool is_conversation() { return input_is_terminal() && isatty(STDOUT_FILENO) != 0; }

bool wait_for_input(const std::stop_token& stop) {
  while (!stop.stop_requested()) {
    pollfd input{.fd = STDIN_FILENO, .events = POLLIN, .revents = 0};
    if (poll(&input, 1, kLookMilliseconds) > 0) return true;
  }
  return false;
}

std::string read_input(const char* what, int64_t max_bytes, const std::stop_token& stop) {
  std::string text;
  std::array<char, 1 << 16> piece{};
  while (true) {
    if (!wait_for_input(stop)) throw Error(ErrorCode::interrupted, "interrupted");
    const ssize_t got = ::read(STDIN_FILENO, piece.data(), piece.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) {
      throw Error(ErrorCode::io, fmt::format("standard input: cannot read {}: {}", what,
                                             std::generic_category().message(errno)));
    }
    if (got == 0) return text;
    text.append(piece.data(), static_cast<size_t>(got));
    if (static_cast<int64_t>(text.size()) > max_bytes) {
      throw Error(ErrorCode::bad_input,
                  fmt::format("standard input: {} of more than {} bytes; another file than meant?",
                              what, max_bytes));
    }
  }
}

}  // namespace squint::cli
