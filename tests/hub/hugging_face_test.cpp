#include <fmt/format.h>

#include "pulling.h"

namespace squint::hub {
namespace {

using test::FakeReply;
using test::FakeRequest;
using test::first;
using test::says;

class HuggingFace : public Pulling {};

TEST_F(HuggingFace, FetchesAWholeRepository) {
  add_usual_files();
  std::vector<std::string> finished;
  PullProgress last;
  options_.on_file = [&](const PullFile& file) { finished.push_back(file.path); };
  options_.on_progress = [&](const PullProgress& progress) { last = progress; };
  const PullResult done = pull(options_);
  expect_all_files();
  EXPECT_EQ(done.plan.commit, test::kFakeCommit);
  EXPECT_EQ(done.plan.files.size(), 4U);
  EXPECT_EQ(done.fetched_bytes, done.plan.total_bytes);
  EXPECT_EQ(finished.size(), 4U);
  EXPECT_EQ(last.done, done.plan.total_bytes);
  EXPECT_EQ(last.files_done, 4);
  EXPECT_EQ(notices_, std::vector<std::string>());
}

// A hundred pages of names; what they say is planned for, sorted and summed.
TEST_F(HuggingFace, ListsAHundredThousandFiles) {
  for (int i = 0; i < 100'000; ++i) {
    hub_.files[fmt::format("data/{:03}/{:05}.txt", i / 1000, i)] = {.content = "x", .large = false};
  }
  options_.dry_run = true;
  const PullPlan plan = pull(options_).plan;
  ASSERT_EQ(plan.files.size(), 100'000U);
  EXPECT_EQ(plan.files.front().path, "data/000/00000.txt");
  EXPECT_EQ(plan.files.back().path, "data/099/99999.txt");
  EXPECT_EQ(plan.total_bytes, 100'000);
  EXPECT_GE(hub_.hub_requests().size(), 100U);
}

TEST_F(HuggingFace, FetchesThousandsOfSmallFiles) {
  for (int i = 0; i < 3000; ++i) {
    hub_.files[fmt::format("{}/{}.txt", i % 7, i)] = {.content = fmt::format("{}", i),
                                                      .large = false};
  }
  pull(options_);
  expect_all_files();
}

TEST_F(HuggingFace, WhatIsThereIsNotFetchedAgain) {
  add_usual_files();
  pull(options_);
  const size_t before = hub_.content_requests().size();
  test::write_text(options_.output / "config.json", "jello\n");
  const PullResult again = pull(options_);
  EXPECT_EQ(again.fetched_bytes, 6);
  EXPECT_EQ(hub_.content_requests().size(), before);
  expect_all_files();
}

// Every token is somebody's password: it goes to the hub, also by a redirect of its own, and
// nowhere else.
TEST_F(HuggingFace, TheTokenStaysWithTheHub) {
  add_usual_files();
  options_.token = "hf_secret";
  pull(options_);
  for (const FakeRequest& request : hub_.hub_requests()) {
    ASSERT_TRUE(request.headers.contains("authorization")) << request.target;
    EXPECT_EQ(request.headers.at("authorization"), "Bearer hf_secret");
  }
  ASSERT_FALSE(hub_.content_requests().empty());
  for (const FakeRequest& request : hub_.content_requests()) {
    for (const auto& [name, value] : request.headers) {
      EXPECT_EQ(value.find("hf_secret"), std::string::npos) << name;
    }
    EXPECT_FALSE(request.headers.contains("authorization"));
    EXPECT_FALSE(request.headers.contains("cookie"));
  }
}

TEST_F(HuggingFace, MessagesNameNeitherTokenNorSignature) {
  add_usual_files();
  options_.token = "hf_secret";
  hub_.alter_content = first(1000, "weights", [](FakeReply& reply) { reply = {.status = 500}; });
  const std::string message = pull_error(ErrorCode::io);
  EXPECT_TRUE(
      says(message, "weights.bin: status 500 from " + hub_.content_url() + "/content/weights.bin"));
  notices_.push_back(message);
  EXPECT_FALSE(noticed("secret"));
}

TEST_F(HuggingFace, ReadsAListOfManyPages) {
  hub_.page_size = 100;
  for (int i = 0; i < 2000; ++i) {
    hub_.files[fmt::format("part-{:04}.txt", i)] = {.content = std::to_string(i), .large = false};
  }
  options_.dry_run = true;
  const PullResult planned = pull(options_);
  EXPECT_EQ(planned.plan.files.size(), 2000U);
  EXPECT_EQ(planned.plan.missing_bytes, 10 + 180 + 2700 + 4000);
  EXPECT_FALSE(std::filesystem::exists(options_.output));
  options_.dry_run = false;
  options_.include = {"part-000*"};
  EXPECT_EQ(pull(options_).plan.files.size(), 10U);
  EXPECT_EQ(in_output("part-0009.txt"), "9");
}

TEST_F(HuggingFace, ANextPageElsewhereIsNotAskedFor) {
  add_usual_files();
  hub_.alter_hub = first(1000, "/tree/", [&](FakeReply& reply) {
    reply.headers.emplace_back("Link", "<" + hub_.content_url() + "/tree>; rel=\"next\"");
  });
  EXPECT_TRUE(says(pull_error(ErrorCode::bad_input), "on another server"));
  EXPECT_TRUE(hub_.content_requests().empty());
}

TEST_F(HuggingFace, PathsThatLeaveTheFolderAreRefusedBeforeAnythingIsWritten) {
  add_usual_files();
  hub_.files["../../escaped"] = {.content = "x"};
  EXPECT_TRUE(says(pull_error(ErrorCode::bad_input), "\"../../escaped\", which is refused"));
  EXPECT_FALSE(std::filesystem::exists(options_.output));
}

TEST_F(HuggingFace, SaysWhatTheHubMeans) {
  options_.id = "acme/absent";
  EXPECT_TRUE(says(pull_error(ErrorCode::bad_input), "no such repository, or no access (no token"));
  options_.id = test::kFakeId;
  options_.revision = "v9";
  const std::string message = pull_error(ErrorCode::bad_input);
  EXPECT_TRUE(says(message, "no such branch, tag or commit"));
  EXPECT_TRUE(says(message, "(request request-7)"));
  options_.revision = "main";
  options_.token = "hf_secret";
  hub_.alter_hub = first(1, "/revision/", [](FakeReply& reply) {
    reply = {.status = 403, .headers = {{"X-Error-Code", "GatedRepo"}}};
  });
  EXPECT_TRUE(says(pull_error(ErrorCode::bad_input), "its licence has to be accepted"));
}

TEST_F(HuggingFace, AWebPageIsNoList) {
  hub_.alter_hub = first(1, "/revision/", [](FakeReply& reply) {
    reply = {.headers = {{"Content-Type", "text/html"}}, .body = "<!doctype html><p>Log in"};
  });
  EXPECT_TRUE(says(pull_error(ErrorCode::bad_input), "a web page instead of JSON"));
}

TEST_F(HuggingFace, DataSetsHaveAddressesOfTheirOwn) {
  add_usual_files();
  options_.kind = RepoKind::dataset;
  pull(options_);
  expect_all_files();
  EXPECT_TRUE(hub_.hub_requests().front().target.starts_with("/api/datasets/acme/tiny/revision/"));
  EXPECT_TRUE(hub_.hub_requests().back().target.find("/resolve") != std::string::npos);
}

TEST_F(HuggingFace, WritesTheCacheThatOtherProgramsRead) {
  namespace fs = std::filesystem;
  add_usual_files();
  hub_.files["copy of weights.bin"] = hub_.files["weights.bin"];
  options_.output.clear();
  options_.cache = dir_.path() / "cache";
  const PullResult done = pull(options_);
  const fs::path repository = options_.cache / "models--acme--tiny";
  EXPECT_EQ(done.plan.folder, repository / "snapshots" / test::kFakeCommit);
  EXPECT_EQ(test::read_text(repository / "refs/main"), test::kFakeCommit);
  EXPECT_EQ(fs::read_symlink(done.plan.folder / "config.json"),
            "../../blobs/ce013625030ba8dba906f756967f9e9ca394464a");
  EXPECT_EQ(fs::read_symlink(done.plan.folder / "sub/small one#1.bin").parent_path(),
            "../../../blobs");
  for (const auto& [path, file] : hub_.files) {
    EXPECT_TRUE(test::read_text(done.plan.folder / path) == file.content) << path;
  }
  // Two files of one content are one blob.
  EXPECT_EQ(std::distance(fs::directory_iterator(repository / "blobs"), {}), 4);
  EXPECT_EQ(pull(options_).fetched_bytes, 0);
}

TEST_F(HuggingFace, ReadsTheCacheThatOtherProgramsWrote) {
  namespace fs = std::filesystem;
  add_usual_files();
  options_.output.clear();
  options_.cache = dir_.path() / "cache";
  const fs::path blobs = options_.cache / "models--acme--tiny/blobs";
  fs::create_directories(blobs);
  const std::string& weights = hub_.files["weights.bin"].content;
  test::write_text(blobs / test::digest_of(DigestKind::sha256, weights), weights);
  const PullResult done = pull(options_);
  EXPECT_EQ(done.fetched_bytes, 1006);
  EXPECT_TRUE(test::read_text(done.plan.folder / "weights.bin") == weights);
}

TEST_F(HuggingFace, AMirrorMayStillNameTheUsualHub) {
  hub_.files["config.json"] = {.content = "hello\n", .large = false};
  hub_.alter_hub = first(1, "/resolve/", [](FakeReply& reply) {
    reply.headers = {
        {"Location", "https://huggingface.co/api/resolve-cache/acme/tiny/config.json"}};
  });
  pull(options_);
  expect_all_files();
}

TEST_F(HuggingFace, OptionsThatCannotBeAreRefused) {
  options_.token = "two\r\nlines";
  EXPECT_FALSE(says(pull_error(ErrorCode::usage), "lines"));
  options_.token.clear();
  options_.endpoint = "hub.example";
  pull_error(ErrorCode::usage);
  options_.endpoint = hub_.url();
  options_.connections = 0;
  pull_error(ErrorCode::usage);
  EXPECT_TRUE(hub_.hub_requests().empty());
}

}  // namespace
}  // namespace squint::hub
