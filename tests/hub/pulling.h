// pulling.h: a fake hub, a folder, and options that wait milliseconds where people wait seconds.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <mutex>
#include <string>
#include <vector>

#include "io/error_of.h"
#include "squint/pull.h"
#include "support/fake_hub.h"
#include "support/paths.h"

namespace squint::hub {

inline constexpr int64_t kSegment = 16 << 10;

class Pulling : public ::testing::Test {
 protected:
  Pulling() {
    // Whatever proxy the machine has, the loopback is not behind it.
    setenv("no_proxy", "127.0.0.1", 1);
    options_.hub = HubKind::hugging_face;
    options_.id = test::kFakeId;
    options_.endpoint = hub_.url();
    options_.output = dir_.path() / "out";
    options_.connections = 4;
    options_.segment_bytes = kSegment;
    options_.patience = {.retries = 4,
                         .first_wait = std::chrono::milliseconds(1),
                         .longest_wait = std::chrono::milliseconds(4),
                         .stall = std::chrono::milliseconds(120),
                         .asked_second = std::chrono::milliseconds(30)};
    options_.on_notice = [this](const std::string& text) { notices_.push_back(text); };
  }

  // Three kinds of files: of several segments, of one, and none of the hub's large ones.
  void add_usual_files() {
    hub_.files["weights.bin"] = {.content = test::bytes_of(1, 10 * kSegment + 7)};
    hub_.files["sub/small one#1.bin"] = {.content = test::bytes_of(2, 1000)};
    hub_.files["config.json"] = {.content = "hello\n", .large = false};
    hub_.files["empty"] = {.content = "", .large = false};
  }

  std::string in_output(const std::string& path) const {
    return test::read_text(options_.output / path);
  }

  void expect_all_files() const {
    for (const auto& [path, file] : hub_.files) expect_file(path);
    expect_nothing_partial();
  }

  void expect_file(const std::string& path) const {
    EXPECT_TRUE(in_output(path) == hub_.files.at(path).content) << path;
  }

  void expect_nothing_partial() const {
    for (const auto& entry : std::filesystem::recursive_directory_iterator(options_.output)) {
      EXPECT_EQ(entry.path().string().find(".incomplete"), std::string::npos) << entry.path();
    }
  }

  std::string pull_error(ErrorCode code) const {
    return test::error_of(code, [&] { pull(options_); });
  }

  bool noticed(const std::string& part) const {
    return std::ranges::any_of(notices_, [&](const std::string& notice) {
      return notice.find(part) != std::string::npos;
    });
  }

  test::FakeHub hub_;
  test::TempDir dir_;
  PullOptions options_;
  std::vector<std::string> notices_;
};

}  // namespace squint::hub
