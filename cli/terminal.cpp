#include "terminal.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>

namespace squint::cli {
namespace {

constexpr double kRedrawSeconds = 0.1;
constexpr double kPlainSeconds = 10;

int width_of(int descriptor) {
  winsize size{};
  if (isatty(descriptor) == 0 || ioctl(descriptor, TIOCGWINSZ, &size) != 0) return 80;
  return size.ws_col == 0 ? 80 : size.ws_col;
}

std::string bar(double share, int cells) {
  static constexpr const char* kEighths[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
  const int eighths = std::clamp(static_cast<int>(share * cells * 8), 0, cells * 8);
  std::string out;
  for (int i = 0; i < eighths / 8; ++i) out += "█";
  out += kEighths[eighths % 8];
  const int used = (eighths + 7) / 8;
  return out + std::string(static_cast<size_t>(cells - used), ' ');
}

}  // namespace

int terminal_width() { return width_of(STDOUT_FILENO); }

bool use_color() {
  const char* no = std::getenv("NO_COLOR");
  return isatty(STDOUT_FILENO) != 0 && (no == nullptr || *no == '\0');
}

std::string duration_text(double seconds) {
  const auto whole = std::llround(seconds);
  if (whole < 60) return fmt::format("{} s", whole);
  if (whole < 3600) return fmt::format("{}:{:02}", whole / 60, whole % 60);
  return fmt::format("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60);
}

std::string bytes_text(int64_t bytes) {
  const auto value = static_cast<double>(bytes);
  return bytes >= 1'000'000'000 ? fmt::format("{:.2f} GB", value / 1e9)
                                : fmt::format("{:.1f} MB", value / 1e6);
}

int64_t peak_memory() {
  // What the kernel calls the high-water mark is this program's alone; what getrusage says may come
  // from the one that started it.
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    int64_t kib = 0;
    if (word == "VmHWM:" && status >> kib) return kib * 1024;
  }
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return int64_t{usage.ru_maxrss} * 1024;
}

Progress::Progress(std::string title)
    : title_(std::move(title)), live_(isatty(STDERR_FILENO) != 0) {}

Progress::~Progress() { finish(); }

void Progress::finish() {
  if (live_ && open_) std::fputs("\n", stderr);
  open_ = false;
  lines_above_ = 0;
}

void Progress::clear() {
  if (!live_) return;
  if (open_) {
    if (lines_above_ > 0) fmt::print(stderr, "\033[{}A", lines_above_);
    fmt::print(stderr, "\r\033[J");
  }
  open_ = false;
  lines_above_ = 0;
  last_ = {};
}

void Progress::show(int64_t done, int64_t total, const std::string& note, int64_t already) {
  show_below({}, done, total, note, already);
}

void Progress::show_below(const std::vector<std::string>& lines, int64_t done, int64_t total,
                          const std::string& note, int64_t already) {
  const Clock::time_point now = Clock::now();
  const bool last = done >= total;
  const double since = std::chrono::duration<double>(now - last_).count();
  if (!last && since < (live_ ? kRedrawSeconds : kPlainSeconds)) return;
  last_ = now;
  const double elapsed = std::chrono::duration<double>(now - start_).count();
  const double share = total > 0 ? static_cast<double>(done) / static_cast<double>(total) : 1;
  const auto fresh = static_cast<double>(done - already);
  std::string left;
  if (last) {
    left = duration_text(elapsed);
  } else if (fresh > 0 && elapsed > 1) {
    left = duration_text(elapsed / fresh * static_cast<double>(total - done)) + " left";
  }
  if (!live_) {
    if (fresh <= 0 && !last) return;
    fmt::print(stderr, "{}: {:.0f} % {} {}\n", title_, share * 100, note, left);
    return;
  }
  const std::string head = fmt::format("{} {:>3.0f} % ", title_, share * 100);
  const std::string tail = fmt::format(" {}  {}", note, left);
  const int cells =
      std::clamp(width_of(STDERR_FILENO) - static_cast<int>(head.size() + tail.size()) - 3, 4, 40);
  std::string block = lines_above_ > 0 ? fmt::format("\033[{}A", lines_above_) : "";
  for (const std::string& line : lines) block += "\r\033[K" + line + "\n";
  fmt::print(stderr, "{}\r\033[J{}▕{}▏{}", block, head, bar(share, cells), tail);
  lines_above_ = lines.size();
  std::fflush(stderr);
  open_ = true;
}

}  // namespace squint::cli
