#include <fmt/format.h>

#include "pulling.h"

namespace squint::hub {
namespace {

using test::FakeReply;
using test::FakeRequest;
using test::first;
using test::says;

class ModelScope : public Pulling {
 protected:
  ModelScope() { options_.hub = HubKind::modelscope; }
};

TEST_F(ModelScope, FetchesAWholeRepository) {
  add_usual_files();
  const PullResult done = pull(options_);
  expect_all_files();
  EXPECT_EQ(done.plan.commit, "");
  EXPECT_EQ(done.plan.revision, "master");
  EXPECT_EQ(done.plan.files[0].digest,
            "sha256:5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03");
  EXPECT_EQ(pull(options_).fetched_bytes, 0);
}

TEST_F(ModelScope, TokenAndCookieStayWithTheHub) {
  add_usual_files();
  options_.token = "ms-secret";
  pull(options_);
  for (const FakeRequest& request : hub_.hub_requests()) {
    EXPECT_EQ(request.headers.at("authorization"), "Bearer ms-secret");
    EXPECT_EQ(request.headers.at("cookie"), "m_session_id=ms-secret");
  }
  ASSERT_FALSE(hub_.content_requests().empty());
  for (const FakeRequest& request : hub_.content_requests()) {
    EXPECT_FALSE(request.headers.contains("authorization"));
    EXPECT_FALSE(request.headers.contains("cookie"));
  }
}

// A page that is exactly full may be the last one.
TEST_F(ModelScope, ReadsDataSetsPageByPage) {
  options_.kind = RepoKind::dataset;
  options_.dry_run = true;
  for (const int count : {99, 100, 101, 200}) {
    hub_.files.clear();
    for (int i = 0; i < count; ++i) {
      hub_.files[fmt::format("rows/{}.txt", i)] = {.content = "x", .large = false};
    }
    EXPECT_EQ(pull(options_).plan.files.size(), static_cast<size_t>(count));
  }
  options_.dry_run = false;
  options_.include = {"rows/1?.txt"};
  EXPECT_EQ(pull(options_).fetched_bytes, 10);
  EXPECT_EQ(in_output("rows/17.txt"), "x");
}

TEST_F(ModelScope, AnErrorWithStatus200IsAnError) {
  options_.revision = "v9";
  EXPECT_TRUE(says(pull_error(ErrorCode::bad_input), "ModelScope says 404, \"no such revision\""));
  options_.revision.clear();
  hub_.alter_hub = first(1, "/repo/files", [](FakeReply& reply) {
    reply.body = R"({"Code":200,"Success":false,"Message":"not today","Data":{"Files":[]}})";
  });
  EXPECT_TRUE(says(pull_error(ErrorCode::bad_input), "\"not today\""));
}

TEST_F(ModelScope, AnErrorInPlaceOfAFileIsNoFile) {
  add_usual_files();
  hub_.alter_hub = first(1000, "/repo", [](FakeReply& reply) {
    if (reply.status == 302) reply = {.body = R"({"Code":500,"Success":false})"};
  });
  EXPECT_TRUE(says(pull_error(ErrorCode::bad_input), "bytes arrive, the list says"));
}

TEST_F(ModelScope, AFileWithoutDigestIsTakenWithAWarning) {
  hub_.files["a"] = {.content = test::bytes_of(3, 3 * kSegment)};
  const std::string digest = test::digest_of(DigestKind::sha256, hub_.files["a"].content);
  hub_.alter_hub = first(1000, "/repo/files", [digest](FakeReply& reply) {
    reply.body.replace(reply.body.find(digest), digest.size(), "");
  });
  hub_.alter_content = [](const FakeRequest&, FakeReply& reply) {
    reply.headers.emplace_back("ETag", "\"v1\"");
  };
  pull(options_);
  expect_all_files();
  EXPECT_TRUE(noticed("states no SHA-256"));
}

// Without a digest the ETag is all there is to tell two contents apart.
TEST_F(ModelScope, AFileWithoutDigestThatChangesBeginsAnew) {
  hub_.files["a"] = {.content = test::bytes_of(3, 8 * kSegment)};
  const std::string digest = test::digest_of(DigestKind::sha256, hub_.files["a"].content);
  hub_.alter_hub = first(1000, "/repo/files", [digest](FakeReply& reply) {
    reply.body.replace(reply.body.find(digest), digest.size(), "");
  });
  const std::string later = test::bytes_of(4, 8 * kSegment);
  hub_.alter_content = [later, asked = 0](const FakeRequest& request, FakeReply& reply) mutable {
    const bool changed = ++asked > 3;
    if (changed) reply = test::content_reply(request, later);
    reply.headers.emplace_back("ETag", changed ? "\"v2\"" : "\"v1\"");
  };
  options_.connections = 1;
  pull(options_);
  EXPECT_TRUE(in_output("a") == later);
}

TEST_F(ModelScope, WritesItsCache) {
  add_usual_files();
  options_.output.clear();
  options_.cache = dir_.path() / "cache";
  const PullResult done = pull(options_);
  EXPECT_EQ(done.plan.folder, options_.cache / "models/acme--tiny/snapshots/master");
  EXPECT_EQ(test::read_text(done.plan.folder / "config.json"), "hello\n");
  EXPECT_EQ(pull(options_).fetched_bytes, 0);
}

}  // namespace
}  // namespace squint::hub
