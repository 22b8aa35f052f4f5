#include "quantize/run_watch.h"

#include <fmt/format.h>

#include <algorithm>
#include <ctime>

#include "squint/error.h"

namespace squint::quantize {

void RunWatch::stop_if_asked() {
  memory_.sample();
  if (options_.stop.stop_requested()) {
    throw Error(ErrorCode::interrupted,
                fmt::format("interrupted; finished layers are kept in {}.journal: the same command "
                            "continues after them",
                            options_.output.string()));
  }
}

void RunWatch::advance(const std::string& phase, int64_t steps) {
  done_ += steps;
  report_outside(phase, done_, total_);
  stop_if_asked();
}

void RunWatch::report_outside(const std::string& phase, int64_t done, int64_t total) const {
  if (options_.on_progress) options_.on_progress({phase, done, total, elapsed()});
}

void RunWatch::report_end() const { report_outside("writing", total_, total_); }

void RunWatch::book(std::string_view phase) {
  auto at = std::ranges::find(phases_, phase, &RunReport::Phase::name);
  if (at == phases_.end()) at = phases_.insert(at, {.name = std::string(phase)});
  const double now = elapsed();
  at->seconds += now - booked_;
  booked_ = now;
}

double RunWatch::seconds_of(std::string_view phase) const {
  const auto at = std::ranges::find(phases_, phase, &RunReport::Phase::name);
  return at != phases_.end() ? at->seconds : 0;
}

void RunWatch::finish(RunReport& run) const {
  run.phases = phases_;
  run.seconds = elapsed();
  run.memory_bytes = memory_.peak();
  run.resident_bytes = peak_resident_bytes();
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  gmtime_r(&now, &utc);
  run.finished = fmt::format("{:04}-{:02}-{:02} {:02}:{:02}:{:02} UTC", utc.tm_year + 1900,
                             utc.tm_mon + 1, utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec);
}

double RunWatch::elapsed() const {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
}

}  // namespace squint::quantize
