#include "io/scratch_file.h"

#include <gtest/gtest.h>

#include <cstring>

#include "io/error_of.h"
#include "support/paths.h"

namespace squint::io {
namespace {

using test::error_of;
using test::says;

TEST(ScratchFile, HoldsWhatIsWrittenAndHasNoName) {
  const test::TempDir dir;
  std::shared_ptr<Storage> first;
  std::shared_ptr<Storage> second;
  {
    ScratchFile file(dir.path(), ScratchFile::needed_for(100) + ScratchFile::needed_for(7));
    first = file.allocate(100);
    second = file.allocate(7);
  }
  EXPECT_TRUE(std::filesystem::is_empty(dir.path()));
  std::memset(first->data(), 1, 100);
  std::memset(second->data(), 2, 7);
  EXPECT_EQ(first->data()[99], std::byte{1});
  EXPECT_EQ(second->data()[0], std::byte{2});
  EXPECT_EQ(reinterpret_cast<uintptr_t>(second->data()) % 64, 0u);
  EXPECT_EQ(second->bytes(), 7);
  EXPECT_EQ(first->device(), Device{});
}

TEST(ScratchFile, MoreThanTheDiskHasIsRefusedBeforeItIsUsed) {
  const test::TempDir dir;
  const std::string message =
      error_of(ErrorCode::io, [&] { ScratchFile(dir.path(), int64_t{1} << 62); });
  EXPECT_TRUE(says(message, dir.path().string()));
  EXPECT_TRUE(says(message, "cannot reserve 4611686018427387904 bytes"));
  EXPECT_TRUE(std::filesystem::is_empty(dir.path()));
}

TEST(ScratchFile, AFolderThatIsMissingIsNamed) {
  const std::string message = error_of(ErrorCode::io, [] { ScratchFile("/no/such/folder", 64); });
  EXPECT_TRUE(says(message, "/no/such/folder"));
}

}  // namespace
}  // namespace squint::io
