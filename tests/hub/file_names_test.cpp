#include "hub/file_names.h"

#include <gtest/gtest.h>

#include "io/error_of.h"

namespace squint::hub {
namespace {

using test::error_of;
using test::says;

RepoFile file(const std::string& path, int64_t size = 6) {
  return {.path = path,
          .size = size,
          .kind = DigestKind::git_sha1,
          .digest = "ce013625030ba8dba906f756967f9e9ca394464a"};
}

TEST(FileNames, WhatLeadsElsewhereIsRefused) {
  for (const std::string path :
       {"../x", "/etc/passwd", "a/../../b", "a/..", "..", ".", "a/./b", "a//b", "a/", "", "C:x",
        "a\\..\\b", "\\\\server\\share", "a/.b.incomplete"}) {
    EXPECT_NE(problem_with(path), "") << path;
  }
  EXPECT_NE(problem_with(std::string("a\0b", 3)), "");
  EXPECT_NE(problem_with("a\nb"), "");
  EXPECT_NE(problem_with(std::string(300, 'a')), "");
}

TEST(FileNames, OrdinaryNamesAreTaken) {
  for (const char* path :
       {"config.json", "sub/a b#%+.bin", "..a", "a..b/c", ".gitattributes", "日本語/ü.txt"}) {
    EXPECT_EQ(problem_with(path), "") << path;
  }
}

TEST(FileNames, PatternsCrossFolders) {
  EXPECT_TRUE(fits("*.json", "sub/config.json"));
  EXPECT_TRUE(fits("sub/", "sub/deep/x"));
  EXPECT_FALSE(fits("sub/", "other/sub/x"));
  EXPECT_TRUE(fits("model-0000[12]*", "model-00001-of-2"));
  EXPECT_TRUE(fits("[!a]?", "bc"));
  EXPECT_FALSE(fits("*.json", "config.JSON"));
}

TEST(FileNames, RepositoriesHaveOwnersAndPlainNames) {
  check_id("Qwen/Qwen3-VL-8B-Instruct", HubKind::modelscope);
  check_id("gpt2", HubKind::hugging_face);
  for (const char* id : {"gpt2", "a/b/c", "../x", "a/..", "a/", "/b", "a/b c", "a/b?x", ""}) {
    error_of(ErrorCode::usage, [&] { check_id(id, HubKind::modelscope); });
  }
  error_of(ErrorCode::usage, [] { check_revision("../../x"); });
}

TEST(FileNames, ExcludeComesAfterInclude) {
  PullOptions options;
  options.include = {"*.bin"};
  options.exclude = {"old/"};
  const std::vector<RepoFile> taken =
      checked_files({file("b.bin"), file("old/a.bin"), file("a.txt"), file("a.bin")}, options);
  ASSERT_EQ(taken.size(), 2U);
  EXPECT_EQ(taken[0].path, "a.bin");
  EXPECT_EQ(taken[1].path, "b.bin");
}

TEST(FileNames, AListThatCannotBeIsRefusedAsAWhole) {
  PullOptions options;
  options.id = "acme/tiny";
  options.include = {"good"};
  const auto refused = [&](std::vector<RepoFile> files) {
    return error_of(ErrorCode::bad_input, [&] { checked_files(std::move(files), options); });
  };
  EXPECT_TRUE(
      says(refused({file("good"), file("../\x1b[2J")}), "\"../\\x1b[2J\", which is refused"));
  EXPECT_TRUE(says(refused({file("good"), file("good")}), "lists good twice"));
  EXPECT_TRUE(says(refused({file("good", -1)}), "-1 bytes"));
  EXPECT_TRUE(says(refused({file("other")}), "none of its 1 files fits"));
  RepoFile bad = file("good");
  bad.digest = "../../x";
  EXPECT_TRUE(says(refused({bad}), "not 40 hexadecimal digits"));
}

}  // namespace
}  // namespace squint::hub
