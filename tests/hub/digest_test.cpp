#include "hub/digest.h"

#include <gtest/gtest.h>

namespace squint::hub {
namespace {

std::string digest_of(DigestKind kind, const std::string& content) {
  Digest digest(kind, static_cast<int64_t>(content.size()));
  for (const char c : content) digest.add({&c, 1});
  return digest.finish();
}

// What git hash-object and sha256sum say.
TEST(Digest, IsWhatTheHubsState) {
  EXPECT_EQ(digest_of(DigestKind::sha256, "hello\n"),
            "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03");
  EXPECT_EQ(digest_of(DigestKind::git_sha1, "hello\n"), "ce013625030ba8dba906f756967f9e9ca394464a");
  EXPECT_EQ(digest_of(DigestKind::sha256, ""),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(digest_of(DigestKind::git_sha1, ""), "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391");
  EXPECT_EQ(digest_of(DigestKind::none, "hello\n"), "");
}

}  // namespace
}  // namespace squint::hub
