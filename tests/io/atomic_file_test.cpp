#include "io/atomic_file.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <csignal>
#include <stdexcept>
#include <string>
#include <vector>

#include "io/as_nobody.h"
#include "io/error_of.h"
#include "io/tiny_disk.h"
#include "support/paths.h"

namespace squint::io {
namespace {

namespace fs = std::filesystem;
using test::error_of;
using test::says;

std::vector<std::string> files_in(const fs::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) names.push_back(entry.path().filename());
  return names;
}

// Writes beyond `bytes` fail within the scope as on a disk that breaks (EFBIG), without privileges.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) {
    getrlimit(RLIMIT_FSIZE, &before_);
    previous_ = std::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{bytes, before_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() {
    setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, previous_);
  }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;

 private:
  rlimit before_{};
  void (*previous_)(int) = nullptr;
};

TEST(AtomicFile, AppearsOnlyWithCommit) {
  const test::TempDir dir;
  const fs::path path = dir.path() / "out";
  AtomicFile file(path);
  file.write("one ");
  file.write("two");
  EXPECT_FALSE(fs::exists(path));
  file.commit();
  EXPECT_EQ(test::read_text(path), "one two");
  EXPECT_EQ(files_in(dir.path()), std::vector<std::string>{"out"});
}

TEST(AtomicFile, WithoutCommitTheTargetIsUntouched) {
  const test::TempDir dir;
  const fs::path path = dir.path() / "out";
  test::write_text(path, "before");
  try {
    AtomicFile file(path, 1 << 20);
    file.write("after");
    throw std::runtime_error("the producer failed");
  } catch (const std::runtime_error&) {
  }
  EXPECT_EQ(test::read_text(path), "before");
  EXPECT_EQ(files_in(dir.path()), std::vector<std::string>{"out"});
}

TEST(AtomicFile, ReplacesAnExistingFileAndMayBeShorterThanReserved) {
  const test::TempDir dir;
  const fs::path path = dir.path() / "out";
  test::write_text(path, "before, and longer");
  AtomicFile file(path, 100'000);
  file.write("after");
  file.commit();
  EXPECT_EQ(test::read_text(path), "after");
}

TEST(AtomicFile, TwoWritersOfOneTargetDoNotMix) {
  const test::TempDir dir;
  AtomicFile first(dir.path() / "out");
  AtomicFile second(dir.path() / "out");
  first.write("first");
  second.write("second");
  first.commit();
  second.commit();
  EXPECT_EQ(test::read_text(dir.path() / "out"), "second");
  EXPECT_EQ(files_in(dir.path()), std::vector<std::string>{"out"});
}

TEST(AtomicFile, PermissionsAreThoseOfAnyNewFile) {
  const test::TempDir dir;
  const mode_t mask = umask(022);
  write_file_atomically(dir.path() / "out", "x");
  umask(mask);
  struct stat info {};
  ASSERT_EQ(stat((dir.path() / "out").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777u, 0644u);
}

TEST(AtomicFile, RelativePathsWork) {
  const test::TempDir dir;
  const fs::path before = fs::current_path();
  fs::current_path(dir.path());
  write_file_atomically("out", "x");
  fs::current_path(before);
  EXPECT_EQ(test::read_text(dir.path() / "out"), "x");
}

TEST(AtomicFile, MissingFolderIsAnIoError) {
  const test::TempDir dir;
  const std::string message =
      error_of(ErrorCode::io, [&] { write_file_atomically(dir.path() / "no" / "out", "x"); });
  EXPECT_TRUE(says(message, "no/out"));
  EXPECT_TRUE(says(message, "No such file or directory"));
}

TEST(AtomicFile, FolderInThePlaceOfTheTargetLeavesNothingBehind) {
  const test::TempDir dir;
  fs::create_directory(dir.path() / "out");
  EXPECT_TRUE(says(error_of(ErrorCode::io, [&] { write_file_atomically(dir.path() / "out", "x"); }),
                   "Is a directory"));
  EXPECT_EQ(files_in(dir.path()), std::vector<std::string>{"out"});
}

TEST(AtomicFile, ReadOnlyFolderIsAnIoError) {
  const test::TempDir dir;
  ASSERT_EQ(chmod(dir.path().c_str(), 0555), 0);
  const test::AsNobody nobody;
  if (!nobody.ok()) GTEST_SKIP() << test::kNoNobody;
  EXPECT_TRUE(says(error_of(ErrorCode::io, [&] { write_file_atomically(dir.path() / "out", "x"); }),
                   "Permission denied"));
}

TEST(AtomicFile, FailedWriteLeavesNothingBehind) {
  const test::TempDir dir;
  const FileSizeLimit limit(1000);
  {
    AtomicFile file(dir.path() / "out");
    file.write(std::string(900, 'x'));
    const std::string rest(900, 'y');
    EXPECT_TRUE(says(error_of(ErrorCode::io, [&] { file.write(rest); }), "File too large"));
    EXPECT_FALSE(fs::exists(dir.path() / "out"));
  }
  EXPECT_EQ(files_in(dir.path()), std::vector<std::string>{});
}

TEST(AtomicFile, FullDiskSaysWhatIsNeededAndLeavesNothingBehind) {
  const test::TempDir dir;
  const test::TinyDisk disk(dir.path());
  if (!disk.ok()) GTEST_SKIP() << test::kNoMount;
  const std::string text(1 << 20, 'x');
  const std::string reserved =
      error_of(ErrorCode::io, [&] { write_file_atomically(dir.path() / "out", text); });
  EXPECT_TRUE(says(reserved, "No space left"));
  EXPECT_TRUE(says(reserved, "1048576 more bytes are needed"));
  EXPECT_TRUE(says(reserved, "are available"));
  EXPECT_EQ(files_in(dir.path()), std::vector<std::string>{});
  const std::string unreserved = error_of(ErrorCode::io, [&] {
    AtomicFile file(dir.path() / "out");
    file.write(text);
  });
  EXPECT_TRUE(says(unreserved, "more bytes are needed"));
  EXPECT_EQ(files_in(dir.path()), std::vector<std::string>{});
}

TEST(AvailableBytes, MissingFolderIsAnIoError) {
  EXPECT_TRUE(says(error_of(ErrorCode::io, [] { available_bytes("/no/such"); }), "/no/such"));
  EXPECT_TRUE(says(error_of(ErrorCode::io, [] { sync_folder("/no/such"); }), "/no/such"));
}

}  // namespace
}  // namespace squint::io
