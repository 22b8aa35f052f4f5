// run_watch.h: how far a run is and what it takes. Where a run reports, it is also stopped.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/process_memory.h"
#include "squint/quantize.h"

namespace squint::quantize {

class RunWatch {
 public:
  // `options` must outlive the watch.
  explicit RunWatch(const QuantizeOptions& options) : options_(options) {}

  // Throws Error(interrupted) where options.stop asks for it.
  void stop_if_asked();

  void expect(int64_t total_steps) { total_ = total_steps; }
  void go_to(int64_t step) { done_ = step; }
  // Reports `steps` more of all, in `phase`, and stops if asked.
  void advance(const std::string& phase, int64_t steps);
  // Reports that of `total` things before the first step so many are done.
  void report_outside(const std::string& phase, int64_t done, int64_t total) const;
  void report_end() const;  // Does not stop: there is nothing to stop any more.

  // Counts the time since the last call as that of `phase`.
  void book(std::string_view phase);
  double seconds_of(std::string_view phase) const;  // as booked
  int64_t memory() const { return memory_.now(); }  // beside what there was at the start
  // Time and memory so far.
  void finish(RunReport& run) const;

 private:
  double elapsed() const;

  const QuantizeOptions& options_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  PeakMemory memory_;
  std::vector<RunReport::Phase> phases_;
  double booked_ = 0;
  int64_t done_ = 0;
  int64_t total_ = 1;
};

}  // namespace squint::quantize
