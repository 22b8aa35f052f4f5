#include <gtest/gtest.h>

#include "backends/cuda/open_cuda.h"
#include "base/thread_pool.h"
#include "ops/backend.h"
#include "squint/backend.h"
#include "squint/error.h"

namespace squint {
namespace {

// The message of the Error(usage) that opening throws.
std::string refusal(const BackendOptions& options) {
  try {
    open_backend(options);
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::usage);
    return e.what();
  }
  ADD_FAILURE() << "nothing was thrown";
  return "";
}

TEST(OpenBackend, TakesTheBestKernelsAndAllCores) {
  const BackendPtr backend = open_backend();
  EXPECT_EQ(backend->name(), "cpu");
  EXPECT_EQ(kernels_of(*backend), runnable_kernels().front());
  EXPECT_EQ(threads_of(*backend), available_cores());
}

TEST(OpenBackend, EveryRunnableTableCanBeForced) {
  ASSERT_FALSE(runnable_kernels().empty());
  EXPECT_EQ(runnable_kernels().back(), "scalar") << "which runs everywhere";
  for (const std::string& kernels : runnable_kernels()) {
    const BackendPtr backend = open_backend({.threads = 3, .kernels = kernels});
    EXPECT_EQ(kernels_of(*backend), kernels);
    EXPECT_EQ(threads_of(*backend), 3);
  }
}

TEST(OpenBackend, FastTablesToo) {
  EXPECT_EQ(runnable_kernels(Arithmetic::fast).back(), "scalar");
  for (const std::string& kernels : runnable_kernels(Arithmetic::fast)) {
    const BackendPtr backend =
        open_backend({.threads = 3, .kernels = kernels, .arithmetic = Arithmetic::fast});
    EXPECT_EQ(kernels_of(*backend), kernels);
    EXPECT_EQ(arithmetic_of(*backend), Arithmetic::fast);
    EXPECT_EQ(threads_of(*backend), 3);
  }
}

TEST(OpenBackend, Reference) {
  const BackendPtr backend = open_backend({.name = "reference", .threads = 1});
  EXPECT_EQ(backend->name(), "reference");
  EXPECT_EQ(kernels_of(*backend), "loops");
}

// Whichever it is: not in this program, no driver, no card.
TEST(OpenBackend, SaysWhatCudaLacksHere) {
  if (cuda::cards() > 0) {
    EXPECT_EQ(open_backend({.name = "cuda"})->name(), "cuda");
    EXPECT_NE(refusal({.name = "cuda:99"}).find("cuda:99"), std::string::npos);
    return;
  }
  try {
    open_backend({.name = "cuda"});
    ADD_FAILURE() << "nothing was thrown";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::unsupported);
    EXPECT_NE(std::string(e.what()).find("--device cpu"), std::string::npos) << e.what();
  }
}

TEST(OpenBackend, RefusesWhatItDoesNotKnow) {
  for (const char* name : {"cuda:", "cuda:x", "cuda:-1", "cuda:1x", "cudas"}) {
    EXPECT_NE(refusal({.name = name}).find(name), std::string::npos);
  }
  EXPECT_NE(refusal({.name = "tpu"}).find("\"tpu\""), std::string::npos);
  const std::string message = refusal({.kernels = "sse9"});
  EXPECT_NE(message.find("\"sse9\""), std::string::npos);
  EXPECT_NE(message.find("scalar"), std::string::npos) << "names what would run: " << message;
  EXPECT_NE(refusal({.name = "reference", .arithmetic = Arithmetic::fast}).find("fast"),
            std::string::npos);
  EXPECT_NE(refusal({.threads = -1}).find("-1"), std::string::npos);
  EXPECT_NE(refusal({.threads = 4097}).find("4097"), std::string::npos);
}

}  // namespace
}  // namespace squint
