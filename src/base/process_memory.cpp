#include "base/process_memory.h"

#if __has_include(<malloc.h>)
#include <malloc.h>
#endif
#include <sys/resource.h>

#include <fstream>
#include <string>

namespace squint {
namespace {

// Of /proc/self/status, in bytes; 0 where it does not say.
int64_t status_bytes(const char* name) {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    int64_t kib = 0;
    if (word == name && status >> kib) return kib * 1024;
  }
  return 0;
}

}  // namespace

int64_t anonymous_bytes() { return status_bytes("RssAnon:"); }
int64_t resident_bytes() { return status_bytes("VmRSS:"); }

int64_t peak_resident_bytes() {
  if (const int64_t peak = status_bytes("VmHWM:"); peak > 0) return peak;
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return int64_t{usage.ru_maxrss} * 1024;
}

bool restart_peak() {
  std::ofstream file("/proc/self/clear_refs");
  file << "5" << std::flush;  // what proc(5) calls resetting the peak
  return file.good();
}

void trim_memory() {
#ifdef M_TRIM_THRESHOLD
  malloc_trim(0);
#endif
}

}  // namespace squint
