#include "base/thread_pool.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "squint/error.h"

namespace squint {
namespace {

class Pools : public ::testing::TestWithParam<int> {
 protected:
  ThreadPool pool_{GetParam()};
};
INSTANTIATE_TEST_SUITE_P(Sizes, Pools, ::testing::Range(1, 8));

TEST_P(Pools, CoverEveryRangeExactlyOnce) {
  EXPECT_EQ(pool_.size(), GetParam());
  for (const int64_t count : {1, 2, 3, 6, 7, 8, 15, 16, 17, 100, 1001}) {
    for (const int64_t grain : {1, 3, 16, 1000}) {
      std::vector<std::atomic<int>> seen(static_cast<size_t>(count));
      std::vector<std::atomic<int>> calls(static_cast<size_t>(pool_.size()));
      std::atomic<bool> inside = true;
      pool_.parallel_for(count, grain, [&](int64_t begin, int64_t end, int worker) {
        // EXPECT_ is not for other threads.
        if (begin % grain != 0 || begin >= end || end > count || worker >= pool_.size()) {
          inside = false;
          return;
        }
        ++calls[static_cast<size_t>(worker)];
        for (int64_t i = begin; i < end; ++i) ++seen[static_cast<size_t>(i)];
      });
      EXPECT_TRUE(inside) << count << " by " << grain;
      for (const auto& times : seen) ASSERT_EQ(times, 1) << count << " by " << grain;
      for (const auto& times : calls) ASSERT_LE(times, 1) << count << " by " << grain;
    }
  }
}

TEST_P(Pools, NothingToDoCallsNobody) {
  pool_.parallel_for(0, 1, [](int64_t, int64_t, int) { FAIL(); });
  pool_.parallel_for(-5, 1, [](int64_t, int64_t, int) { FAIL(); });
}

// Who does what must not depend on timing.
TEST_P(Pools, RangesAreTheSameEveryTime) {
  const auto ranges = [&] {
    std::vector<int64_t> begins(static_cast<size_t>(pool_.size()), -1);
    pool_.parallel_for(1000, 8, [&](int64_t begin, int64_t, int worker) {
      begins[static_cast<size_t>(worker)] = begin;
    });
    return begins;
  };
  const std::vector<int64_t> first = ranges();
  for (int i = 0; i < 20; ++i) EXPECT_EQ(ranges(), first);
}

TEST_P(Pools, AnExceptionOfAnyWorkerArrives) {
  for (int thrower = 0; thrower < pool_.size(); ++thrower) {
    std::atomic<int> finished = 0;
    try {
      pool_.parallel_for(pool_.size(), 1, [&](int64_t begin, int64_t, int) {
        if (begin == thrower) throw std::runtime_error("worker " + std::to_string(begin));
        ++finished;
      });
      FAIL() << "nothing was thrown";
    } catch (const std::runtime_error& e) {
      EXPECT_EQ(e.what(), "worker " + std::to_string(thrower));
    }
    EXPECT_EQ(finished, pool_.size() - 1) << "the others run to their end";
  }
}

TEST_P(Pools, WorkAgainAfterAnException) {
  const auto fail = [](int64_t, int64_t, int) { throw Error(ErrorCode::io, "disk"); };
  for (int round = 0; round < 20; ++round) {
    EXPECT_THROW(pool_.parallel_for(100, 1, fail), Error);
    std::atomic<int64_t> sum = 0;
    pool_.parallel_for(100, 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) sum += i;
    });
    EXPECT_EQ(sum, 4950);
  }
}

TEST_P(Pools, ManySmallLoops) {
  std::vector<int> counters(64, 0);
  for (int loop = 0; loop < 2000; ++loop) {
    pool_.parallel_for(64, 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) ++counters[static_cast<size_t>(i)];
    });
  }
  EXPECT_EQ(counters, std::vector<int>(64, 2000));
}

// Workers that went to sleep must be woken.
TEST_P(Pools, LoopsAfterAPause) {
  for (int loop = 0; loop < 3; ++loop) {
    std::this_thread::sleep_for(std::chrono::milliseconds(3));
    std::atomic<int> parts = 0;
    pool_.parallel_for(pool_.size(), 1, [&](int64_t, int64_t, int) { ++parts; });
    EXPECT_EQ(parts, pool_.size());
  }
}

TEST(ThreadPool, TheCallerTakesPart) {
  ThreadPool pool(3);
  std::vector<std::thread::id> who(3);
  pool.parallel_for(3, 1, [&](int64_t begin, int64_t, int) {
    who[static_cast<size_t>(begin)] = std::this_thread::get_id();
  });
  EXPECT_EQ(who[0], std::this_thread::get_id());
  EXPECT_EQ(std::set<std::thread::id>(who.begin(), who.end()).size(), 3u);
}

TEST(ThreadPool, StartsAndStopsIdle) {
  for (int i = 0; i < 50; ++i) ThreadPool pool(4);
}

// Room for a few threads' stacks within the scope, as under a container's limits.
class AddressSpaceLimit {
 public:
  AddressSpaceLimit() {
    getrlimit(RLIMIT_AS, &before_);
    int64_t pages = 0;
    std::ifstream("/proc/self/statm") >> pages;
    constexpr rlim_t kRoom = 50'000'000;  // six of the usual 8 MiB
    const rlimit limit{static_cast<rlim_t>(pages * getpagesize()) + kRoom, before_.rlim_max};
    setrlimit(RLIMIT_AS, &limit);
  }
  ~AddressSpaceLimit() { setrlimit(RLIMIT_AS, &before_); }
  AddressSpaceLimit(const AddressSpaceLimit&) = delete;
  AddressSpaceLimit& operator=(const AddressSpaceLimit&) = delete;

 private:
  rlimit before_{};
};

// Those that did start must end: else this test does not.
TEST(ThreadPool, MoreThreadsThanTheSystemStartsAreAnError) {
#ifdef __SANITIZE_THREAD__
  GTEST_SKIP() << "skipped: the sanitizer itself needs address space";
#endif
  std::string message;
  {
    const AddressSpaceLimit limit;
    try {
      ThreadPool pool(5000);
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::out_of_memory);
      message = e.what();
    }
  }
  EXPECT_TRUE(message.starts_with("cannot start 5000 threads: ")) << message;
  ThreadPool pool(4);
  EXPECT_EQ(pool.size(), 4);
}

TEST(ThreadPool, NeedsAThread) { EXPECT_THROW(ThreadPool(0), InternalError); }

TEST(ThreadPool, SomeCoreIsAvailable) {
  EXPECT_GE(available_cores(), 1);
  EXPECT_LE(available_cores(), static_cast<int>(std::thread::hardware_concurrency()));
}

}  // namespace
}  // namespace squint
