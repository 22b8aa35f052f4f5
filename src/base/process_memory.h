// process_memory.h: how much memory this process takes, as the kernel counts it.
//
// Anonymous memory is what belongs to the process alone; mapped files are not counted, whose pages
// the kernel may drop at any time. Bytes; 0 where the system does not tell.
#pragma once

#include <algorithm>
#include <cstdint>

namespace squint {

int64_t anonymous_bytes();
int64_t resident_bytes();       // now, pages of mapped files counted
int64_t peak_resident_bytes();  // the most since the process started, or since the last:
bool restart_peak();            // false where the system cannot

// Gives back to the system what was freed, as far as the C library can.
void trim_memory();

// The most anonymous memory that was seen, beside what there was at construction.
class PeakMemory {
 public:
  void sample() { peak_ = std::max(peak_, anonymous_bytes()); }
  int64_t peak() const { return peak_ - start_; }
  // Not less than nothing, where something older was given back meanwhile.
  int64_t now() const { return std::max<int64_t>(0, anonymous_bytes() - start_); }

 private:
  int64_t start_ = anonymous_bytes();
  int64_t peak_ = start_;
};

}  // namespace squint
