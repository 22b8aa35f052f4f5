// thread_pool.h: a fixed set of workers for loops whose parts do not depend on each other.
//
// The calling thread takes part, so a pool of 1 starts no thread. A loop is cut into one contiguous
// range per worker: which worker does what never depends on timing, and results that are computed
// per element do not depend on the number of workers.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

namespace squint {

class ThreadPool {
 public:
  // threads >= 1. Throws Error(out_of_memory) when the system will not start so many.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const;

  // Calls body(begin, end, worker) with ranges that cover 0..count-1, worker in 0..size()-1, and
  // returns when all are done. Ranges begin at multiples of `grain`. The first exception thrown by
  // a body is rethrown here after all have finished. Loops must not be nested in one pool.
  using Body = std::function<void(int64_t begin, int64_t end, int worker)>;
  void parallel_for(int64_t count, int64_t grain, const Body& body);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Cores this process may use, at least 1: physical ones of the affinity mask, as many as the
// container's CPU limit allows.
int available_cores();

}  // namespace squint
