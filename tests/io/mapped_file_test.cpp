#include "io/mapped_file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstring>

#include "io/as_nobody.h"
#include "io/error_of.h"
#include "support/paths.h"

namespace squint::io {
namespace {

using test::error_of;
using test::says;

TEST(MapFile, HoldsTheBytesAfterTheFileIsGone) {
  const test::TempDir dir;
  const auto path = dir.path() / "weights";
  test::write_text(path, std::string("ab\0cd", 5));
  const std::shared_ptr<Storage> mapped = map_file(path);
  std::filesystem::remove(path);
  ASSERT_EQ(mapped->bytes(), 5);
  EXPECT_EQ(std::memcmp(mapped->data(), "ab\0cd", 5), 0);
  EXPECT_EQ(mapped->device(), Device{});
}

TEST(MapFile, MissingFileSaysPathAndReason) {
  const std::string message = error_of(ErrorCode::io, [] { map_file("/no/such/file"); });
  EXPECT_TRUE(says(message, "/no/such/file"));
  EXPECT_TRUE(says(message, "No such file"));
}

TEST(MapFile, EmptyFileIsBadInput) {
  const test::TempDir dir;
  test::write_text(dir.path() / "empty", "");
  EXPECT_TRUE(says(error_of(ErrorCode::bad_input, [&] { map_file(dir.path() / "empty"); }),
                   "the file is empty"));
}

TEST(MapFile, FoldersAndPipesAreNotFiles) {
  const test::TempDir dir;
  EXPECT_TRUE(says(error_of(ErrorCode::bad_input, [&] { map_file(dir.path()); }), "a folder"));
  const auto pipe = dir.path() / "pipe";
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_TRUE(says(error_of(ErrorCode::bad_input, [&] { map_file(pipe); }), "pipe"));
}

TEST(MapFile, UnreadableFileIsAnIoError) {
  const test::TempDir dir;
  test::write_text(dir.path() / "secret", "x");
  ASSERT_EQ(chmod(dir.path().c_str(), 0755), 0);
  ASSERT_EQ(chmod((dir.path() / "secret").c_str(), 0), 0);
  const test::AsNobody nobody;
  if (!nobody.ok()) GTEST_SKIP() << test::kNoNobody;
  EXPECT_TRUE(
      says(error_of(ErrorCode::io, [&] { map_file(dir.path() / "secret"); }), "Permission denied"));
}

TEST(ReadFile, ReadsUpToTheLimitAndNotBeyond) {
  const test::TempDir dir;
  const auto path = dir.path() / "text";
  test::write_text(path, std::string("12\0004", 4));
  EXPECT_EQ(read_file(path, 4), std::string("12\0004", 4));
  EXPECT_TRUE(says(error_of(ErrorCode::bad_input, [&] { read_file(path, 3); }), "4 bytes"));
  test::write_text(path, "");
  EXPECT_EQ(read_file(path, 0), "");
}

TEST(ReadFile, MissingFileIsAnIoError) {
  EXPECT_TRUE(says(error_of(ErrorCode::io, [] { read_file("/no/such/file", 1); }), "/no/such"));
}

TEST(MappedFile, AdviceChangesNoByte) {
  const test::TempDir dir;
  std::string text;
  for (int i = 0; i < 100'000; ++i) text += static_cast<char>(i % 251);
  test::write_text(dir.path() / "file", text);
  const std::shared_ptr<Storage> mapped = map_file(dir.path() / "file");
  const Tensor part(mapped, 5000, DType::u8, {80'000});
  const Tensor heap = Tensor::copy_of<uint8_t>(part.span<const uint8_t>(), {80'000});
  for (const PageUse use : {PageUse::soon, PageUse::done, PageUse::soon}) {
    for (const Tensor& tensor : {part, heap}) {
      advise(tensor, use);
      ASSERT_EQ(std::string(reinterpret_cast<const char*>(tensor.raw()), 80'000),
                text.substr(5000, 80'000));
    }
  }
}

}  // namespace
}  // namespace squint::io
