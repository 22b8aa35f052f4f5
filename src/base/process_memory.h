// process_memory.h: how much memory this process takes, as the kernel counts it.
//
// Anonymous memory is what belongs to the process alone; mapped files are not counted, whose pages
// the kernel may drop at any time. Bytes; 0 where the system does not tell.
#pragma once

#include <algorithm>
#include <cstdint>

namespace squint {

int64_t anonymous_bytes();
int64_t peak_resident_bytes();  // since the process started, pages of mapped files counted

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
