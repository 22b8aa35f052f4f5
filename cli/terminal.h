// terminal.h: what a person sees: progress, width, colour.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

namespace squint::cli {

// Of standard output; 80 where it is not a terminal.
int terminal_width();
// Standard output is a terminal, and NO_COLOR is not set.
bool use_color();

// On a terminal one line on standard error that is redrawn; elsewhere a plain line now and then.
class Progress {
 public:
  explicit Progress(std::string title);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // `note` stands behind the bar: a phase, a score. `already` of `done` were there at the start.
  void show(int64_t done, int64_t total, const std::string& note, int64_t already = 0);
  // The same below lines of one row each, which only a terminal shows.
  void show_below(const std::vector<std::string>& lines, int64_t done, int64_t total,
                  const std::string& note, int64_t already = 0);
  // Ends the line; further output starts on a fresh one.
  void finish();
  // Takes it all off the terminal, for something that is printed in its place.
  void clear();

 private:
  using Clock = std::chrono::steady_clock;

  std::string title_;
  bool live_;  // standard error is a terminal
  bool open_ = false;
  size_t lines_above_ = 0;
  Clock::time_point start_ = Clock::now();
  Clock::time_point last_{};
};

std::string duration_text(double seconds);  // "1:05", "12 s"
std::string bytes_text(int64_t bytes);      // "35.4 MB"

// Peak resident memory of this process so far, in bytes.
int64_t peak_memory();

}  // namespace squint::cli
