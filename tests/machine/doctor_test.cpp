#include "squint/doctor.h"

#include <gtest/gtest.h>

#include "io/error_of.h"
#include "support/json.h"
#include "support/paths.h"

namespace squint {
namespace {

TEST(Doctor, SaysWhatItMeasured) {
  const BackendPtr backend = open_backend({.threads = 2});
  const test::TempDir dir;
  const MachineReport report = examine_machine(*backend, dir.path());
  EXPECT_EQ(report.threads, 2);
  EXPECT_FALSE(report.kernels.empty());
  EXPECT_FALSE(report.fast_kernels.empty());
  EXPECT_GT(report.memory_bytes, 0);
  EXPECT_GT(report.disk_free_bytes, 0);
  // Anything that runs this reads faster than a disk turns, and no memory gives a terabyte a second
  // to two threads.
  EXPECT_GT(report.read_bytes_a_second, 1e8);
  EXPECT_LT(report.read_bytes_a_second, 1e12);
  EXPECT_GT(report.float_operations_a_second, 1e7);
  const Json json = test::json_of(report.to_json());
  EXPECT_EQ(json["kind"], "machine");
  EXPECT_EQ(json["running"], report.running);
  EXPECT_NE(report.to_text().find("GB/s reading"), std::string::npos);
}

TEST(Doctor, AFolderMustExist) {
  const BackendPtr backend = open_backend({.threads = 1});
  test::error_of(ErrorCode::io, [&] { examine_machine(*backend, "/nowhere/at/all"); });
}

}  // namespace
}  // namespace squint
