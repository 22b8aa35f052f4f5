#include "hub/partial_file.h"

#include <gtest/gtest.h>

#include "io/error_of.h"
#include "support/paths.h"

namespace squint::hub {
namespace {

namespace fs = std::filesystem;
using test::error_of;
using test::says;

const RepoFile kFile{.path = "x", .size = 10, .kind = DigestKind::sha256, .digest = "abc"};
const RepoFile kNoDigest{.path = "x", .size = 10};

class PartialFiles : public ::testing::Test {
 protected:
  fs::path note() const { return path_.string() + ".json"; }
  // Leaves bytes 2 to 6 behind.
  void leave(const RepoFile& file, const std::string& etag = "") const {
    PartialFile partial(path_, file, "source");
    partial.agrees_with_etag(etag);
    partial.write(2, "2345");
    partial.save();
  }
  int64_t found(const RepoFile& file, const std::string& source = "source") const {
    return PartialFile::present_bytes(path_, file, source);
  }

  test::TempDir dir_;
  fs::path path_ = dir_.path() / "x.incomplete";
};

TEST_F(PartialFiles, EveryMissingByteIsClaimedOnce) {
  PartialFile partial(path_, kFile, "");
  partial.write(4, "45");
  EXPECT_EQ(partial.claim(3), (ByteRange{0, 3}));
  EXPECT_EQ(partial.claim(3), (ByteRange{3, 4}));
  EXPECT_EQ(partial.claim(3), (ByteRange{6, 9}));
  EXPECT_EQ(partial.claim(3), (ByteRange{9, 10}));
  EXPECT_EQ(partial.claim(3), std::nullopt);
  partial.write(0, "01");
  partial.release({0, 3});
  EXPECT_EQ(partial.claim(8), (ByteRange{2, 3}));
}

TEST_F(PartialFiles, RangesThatTouchAreOne) {
  PartialFile partial(path_, kFile, "");
  partial.write(0, "01");
  partial.write(8, "89");
  partial.write(4, "45");
  partial.write(1, "1234");
  EXPECT_EQ(partial.present_bytes(), 8);
  partial.write(6, "67");
  EXPECT_TRUE(partial.is_complete());
  EXPECT_EQ(partial.read(0, 100), "0123456789");
  partial.publish(dir_.path() / "x");
  EXPECT_EQ(test::read_text(dir_.path() / "x"), "0123456789");
  EXPECT_FALSE(fs::exists(path_));
  EXPECT_FALSE(fs::exists(note()));
}

TEST_F(PartialFiles, GoesOnWhereItWasLeft) {
  leave(kFile);
  EXPECT_EQ(found(kFile), 4);
  // With a digest the same content may come from elsewhere.
  PartialFile partial(path_, kFile, "another source");
  EXPECT_EQ(partial.present_bytes(), 4);
  EXPECT_EQ(partial.claim(100), (ByteRange{0, 2}));
  EXPECT_EQ(partial.claim(100), (ByteRange{6, 10}));
}

TEST_F(PartialFiles, AnotherContentBeginsAnew) {
  leave(kFile);
  RepoFile other = kFile;
  other.digest = "def";
  EXPECT_EQ(found(other), 0);
  const PartialFile partial(path_, other, "source");
  EXPECT_EQ(partial.present_bytes(), 0);
  EXPECT_EQ(fs::file_size(path_), 0U);
  EXPECT_FALSE(fs::exists(note()));
}

TEST_F(PartialFiles, WithoutDigestTheEtagDecides) {
  leave(kNoDigest, "\"v1\"");
  EXPECT_EQ(found(kNoDigest, "another source"), 0);
  PartialFile partial(path_, kNoDigest, "source");
  EXPECT_EQ(partial.present_bytes(), 4);
  EXPECT_TRUE(partial.agrees_with_etag("\"v1\""));
  EXPECT_FALSE(partial.agrees_with_etag("\"v2\""));
  EXPECT_FALSE(partial.agrees_with_etag("W/\"v1\""));
}

TEST_F(PartialFiles, WithoutDigestAndEtagNothingIsTrusted) {
  leave(kNoDigest);
  EXPECT_EQ(found(kNoDigest), 0);
}

// Also what a note claims beyond the file's end: bytes that never reached the disk.
TEST_F(PartialFiles, NotesThatCannotBeAreNone) {
  leave(kFile);
  const std::string good = test::read_text(note());
  for (const auto& [from, to] :
       std::vector<std::pair<std::string, std::string>>{{"[2,6]", "[2,7]"},
                                                        {"[2,6]", "[-1,6]"},
                                                        {"[2,6]", "[6,2]"},
                                                        {"[2,6]", "[2,4],[3,6]"},
                                                        {"[2,6]", "7"},
                                                        {"[2,6]", "[\"a\",6]"},
                                                        {"\"format\":1", "\"format\":2"},
                                                        {"{", "{{"}}) {
    std::string bad = good;
    bad.replace(bad.find(from), from.size(), to);
    test::write_text(note(), bad);
    EXPECT_EQ(found(kFile), 0) << bad;
  }
  test::write_text(note(), good);
  EXPECT_EQ(found(kFile), 4);
}

TEST_F(PartialFiles, BelongsToOneProcess) {
  const PartialFile partial(path_, kFile, "");
  EXPECT_TRUE(says(error_of(ErrorCode::io, [&] { PartialFile(path_, kFile, ""); }),
                   "another process is fetching this file"));
}

}  // namespace
}  // namespace squint::hub
