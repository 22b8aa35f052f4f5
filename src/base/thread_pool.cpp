#include "base/thread_pool.h"

#include <fmt/format.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <exception>
#include <fstream>
#include <mutex>
#include <set>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "base/check.h"
#include "base/checked_math.h"
#include "squint/error.h"

namespace squint {
namespace {

// A worker looks for the next loop for so long before it sleeps: the gap between two operators of a
// forward pass, and less than the two ways through the scheduler that sleep would cost. Longer
// would burn a core that somebody else could use. By the clock: a pause takes 10 cycles on some
// processors, 140 on others.
constexpr std::chrono::microseconds kSpinTime{50};

void pause_briefly() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

// Until done() or for kSpinTime.
template <class Done>
void spin_until(const Done& done) {
  constexpr int kLooksBetweenClocks = 16;
  const auto start = std::chrono::steady_clock::now();
  do {
    for (int look = 0; look < kLooksBetweenClocks; ++look) {
      if (done()) return;
      pause_briefly();
    }
  } while (std::chrono::steady_clock::now() - start < kSpinTime);
}

}  // namespace

struct ThreadPool::State {
  std::mutex mutex;
  std::condition_variable wake;
  std::condition_variable finished;
  std::atomic<uint64_t> generation{0};
  std::atomic<int> running{0};
  std::atomic<bool> stopping{false};
  const Body* body = nullptr;
  int64_t count = 0;
  int64_t chunk = 0;
  std::exception_ptr failure;
  std::vector<std::jthread> workers;  // last: they use all of the above

  // Here and not in the pool's destructor, which does not run when its constructor throws.
  ~State() {
    {
      const std::scoped_lock lock(mutex);
      stopping.store(true);
    }
    wake.notify_all();
    workers.clear();  // Joins.
  }

  void run_part(int worker) {
    const int64_t begin = std::min(count, chunk * worker);
    const int64_t end = std::min(count, begin + chunk);
    if (begin >= end) return;
    try {
      (*body)(begin, end, worker);
    } catch (...) {
      const std::scoped_lock lock(mutex);
      if (!failure) failure = std::current_exception();
    }
  }

  void work(int worker) {
    uint64_t seen = 0;
    while (true) {
      spin_until([&] { return generation.load() != seen || stopping.load(); });
      if (generation.load() == seen) {
        std::unique_lock lock(mutex);
        wake.wait(lock, [&] { return generation.load() != seen || stopping.load(); });
      }
      if (stopping.load()) return;
      seen = generation.load();
      run_part(worker);
      if (running.fetch_sub(1) == 1) {
        const std::scoped_lock lock(mutex);
        finished.notify_one();
      }
    }
  }
};

ThreadPool::ThreadPool(int threads) : state_(std::make_unique<State>()) {
  SQUINT_CHECK(threads >= 1);
  State* state = state_.get();
  try {
    for (int worker = 1; worker < threads; ++worker) {
      state->workers.emplace_back([state, worker] { state->work(worker); });
    }
  } catch (const std::system_error& e) {
    throw Error(ErrorCode::out_of_memory,
                fmt::format("cannot start {} threads: {}", threads, e.what()));
  }
}

ThreadPool::~ThreadPool() = default;

int ThreadPool::size() const { return static_cast<int>(state_->workers.size()) + 1; }

void ThreadPool::parallel_for(int64_t count, int64_t grain, const Body& body) {
  if (count <= 0) return;
  State& s = *state_;
  const int64_t chunk = round_up(ceil_div(count, size()), std::max<int64_t>(grain, 1));
  if (chunk >= count) return body(0, count, 0);
  s.body = &body;
  s.count = count;
  s.chunk = chunk;
  s.failure = nullptr;
  s.running.store(size() - 1);
  {
    const std::scoped_lock lock(s.mutex);
    s.generation.fetch_add(1);
  }
  s.wake.notify_all();
  s.run_part(0);
  spin_until([&] { return s.running.load() == 0; });
  if (s.running.load() != 0) {
    std::unique_lock lock(s.mutex);
    s.finished.wait(lock, [&] { return s.running.load() == 0; });
  }
  if (s.failure) std::rethrow_exception(s.failure);
}

namespace {

// Processors of one core share its arithmetic: a second thread there mostly waits. Where the system
// does not say which belong together, each counts.
int physical_cores(const cpu_set_t& mask) {
  std::set<std::string> cores;
  for (int processor = 0; processor < CPU_SETSIZE; ++processor) {
    if (!CPU_ISSET(processor, &mask)) continue;
    const std::string name = std::to_string(processor);
    std::ifstream siblings("/sys/devices/system/cpu/cpu" + name + "/topology/thread_siblings_list");
    std::string core;
    if (!(siblings >> core)) core = "alone " + name;
    cores.insert(core);
  }
  return std::max(1, static_cast<int>(cores.size()));
}

}  // namespace

int available_cores() {
  cpu_set_t mask;
  CPU_ZERO(&mask);
  int cores = 1;
  if (sched_getaffinity(0, sizeof mask, &mask) == 0) cores = physical_cores(mask);
  // A container's limit: "max 100000" or "150000 100000" (quota and period in microseconds).
  std::ifstream limit("/sys/fs/cgroup/cpu.max");
  std::string quota;
  double period = 0;
  if (limit >> quota >> period && quota != "max" && period > 0) {
    cores = std::clamp(static_cast<int>(std::lround(std::stod(quota) / period)), 1, cores);
  }
  return cores;
}

}  // namespace squint
