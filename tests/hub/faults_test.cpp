// What networks and servers do to a download.
#include <fmt/format.h>

#include <chrono>
#include <stop_token>

#include "pulling.h"

namespace squint::hub {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;
using test::between;
using test::FakeReply;
using test::FakeRequest;
using test::first;
using test::says;

class Faults : public Pulling {
 protected:
  Faults() { add_usual_files(); }
};

TEST_F(Faults, ACutConnectionGoesOnFromItsLastByte) {
  hub_.alter_content = first(7, "weights", [](FakeReply& reply) { reply.cut_after = 5000; });
  const PullResult done = pull(options_);
  expect_all_files();
  // Not a byte came twice.
  EXPECT_EQ(done.fetched_bytes, done.plan.total_bytes);
  EXPECT_TRUE(noticed("weights.bin"));
}

TEST_F(Faults, AStalledConnectionIsGivenUp) {
  hub_.alter_content = first(1, "weights", [](FakeReply& reply) { reply.stall_after = 100; });
  pull(options_);
  expect_all_files();
  EXPECT_TRUE(noticed("hardly a byte"));
}

TEST_F(Faults, ADripIsAStallToo) {
  hub_.alter_content = first(1, "small", [](FakeReply& reply) { reply.drip = milliseconds(5); });
  pull(options_);
  expect_all_files();
  EXPECT_TRUE(noticed("hardly a byte"));
}

TEST_F(Faults, ASlowServerIsWaitedFor) {
  hub_.files = {{"slow", {.content = std::string(100, 'x')}}};
  options_.patience.slow_bytes = 1;
  hub_.alter_content = first(1, "slow", [](FakeReply& reply) { reply.drip = milliseconds(2); });
  pull(options_);
  expect_all_files();
  EXPECT_EQ(notices_, std::vector<std::string>());
}

TEST_F(Faults, AHubThatAsksToWaitIsObeyed) {
  hub_.alter_hub = first(1, "/revision/", [](FakeReply& reply) {
    reply = {.status = 429, .headers = {{"Retry-After", "3"}}};
  });
  hub_.alter_content = first(1, "weights", [](FakeReply& reply) {
    reply = {.status = 429, .headers = {{"RateLimit", "\"resolvers\";r=0;t=2"}}};
  });
  const auto start = std::chrono::steady_clock::now();
  pull(options_);
  // Three of its seconds, then two and one.
  EXPECT_GE(std::chrono::steady_clock::now() - start, 6 * options_.patience.asked_second);
  expect_all_files();
  EXPECT_TRUE(noticed("status 429"));
}

TEST_F(Faults, AServerInTroubleIsAskedAgain) {
  hub_.alter_hub = first(2, "/", [](FakeReply& reply) { reply = {.status = 503}; });
  hub_.alter_content = first(3, "/", [](FakeReply& reply) { reply = {.status = 500}; });
  pull(options_);
  expect_all_files();
}

TEST_F(Faults, AServerThatStaysInTroubleEndsTheRun) {
  hub_.alter_hub = first(1000, "/tree/", [](FakeReply& reply) { reply = {.status = 502}; });
  EXPECT_TRUE(says(pull_error(ErrorCode::io), "acme/tiny at main: status 502"));
  EXPECT_EQ(notices_.size(), 4U);
}

TEST_F(Faults, NobodyListening) {
  options_.endpoint = "http://127.0.0.1:1";
  options_.patience.retries = 1;
  EXPECT_TRUE(says(pull_error(ErrorCode::io), "is the network up"));
}

TEST_F(Faults, AWrongLengthIsNoFile) {
  hub_.alter_content = first(1000, "small", [](FakeReply& reply) { reply.body.resize(10); });
  EXPECT_TRUE(says(pull_error(ErrorCode::bad_input), "10 bytes arrive, the list says 1000"));
  EXPECT_FALSE(fs::exists(options_.output / "sub/small one#1.bin"));
}

TEST_F(Faults, AWrongRangeIsNotWritten) {
  hub_.alter_content = first(2, "weights", [](FakeReply& reply) {
    reply.headers = {{"Content-Range", "bytes 5-9/100"}};
  });
  pull(options_);
  expect_all_files();
  EXPECT_TRUE(noticed("\"bytes 5-9/100\" arrives where"));
}

TEST_F(Faults, AChangedByteIsFetchedOnceMore) {
  hub_.alter_content = first(1, "weights", [](FakeReply& reply) { reply.body[77] ^= 1; });
  const PullResult done = pull(options_);
  expect_all_files();
  EXPECT_TRUE(noticed("fetched once more"));
  EXPECT_EQ(done.fetched_bytes, done.plan.total_bytes + 10 * kSegment + 7);
}

TEST_F(Faults, AWrongContentNeverGetsTheName) {
  hub_.files["config.json"].listed_digest = std::string(40, 'a');
  const std::string message = pull_error(ErrorCode::bad_input);
  EXPECT_TRUE(says(message,
                   "digest ce013625030ba8dba906f756967f9e9ca394464a, the hub's list says "
                   "aaaa"));
  EXPECT_TRUE(says(message, "fetched twice"));
  EXPECT_FALSE(fs::exists(options_.output / "config.json"));
}

TEST_F(Faults, TheDigestOfNothingHasAHintOfItsOwn) {
  hub_.files["weights.bin"].listed_digest = test::digest_of(DigestKind::sha256, "");
  hub_.alter_hub = [](const FakeRequest&, FakeReply& reply) {
    std::erase_if(reply.headers,
                  [](const auto& header) { return header.first == "X-Linked-Etag"; });
  };
  EXPECT_TRUE(says(pull_error(ErrorCode::bad_input), "that of an empty file"));
}

TEST_F(Faults, AFileThatChangesMidwayIsNoticed) {
  hub_.alter_content = [&](const FakeRequest&, FakeReply&) {
    hub_.files["weights.bin"].content = test::bytes_of(9, 10 * kSegment + 7);
  };
  // The redirect already names another content than the list, or the digest does not fit.
  EXPECT_TRUE(says(pull_error(ErrorCode::bad_input), "weights.bin"));
  EXPECT_FALSE(fs::exists(options_.output / "weights.bin"));
}

TEST_F(Faults, ARepositoryThatMovesOnIsNoticed) {
  hub_.alter_hub = first(1000, "/resolve/", [](FakeReply& reply) {
    reply.headers.back() = {"X-Repo-Commit", std::string(40, 'b')};
  });
  EXPECT_TRUE(says(pull_error(ErrorCode::bad_input), "was the repository changed just now"));
}

TEST_F(Faults, ARedirectLoopEnds) {
  hub_.alter_hub = first(1000, "/resolve/", [](FakeReply& reply) {
    reply = {.status = 302, .headers = {{"Location", "/acme/tiny/resolve/loop"}}};
  });
  EXPECT_TRUE(says(pull_error(ErrorCode::bad_input), "more than 5 redirects"));
}

TEST_F(Faults, ARedirectToNoServerIsRefused) {
  options_.connections = 1;
  for (const char* location :
       {"file:///etc/passwd", "ftp://hub.example/x", "http://a@127.0.0.1/"}) {
    hub_.alter_hub = first(1000, "/resolve/", [location](FakeReply& reply) {
      reply = {.status = 302, .headers = {{"Location", location}}};
    });
    EXPECT_TRUE(says(pull_error(ErrorCode::bad_input), "without an address to go to")) << location;
  }
}

TEST_F(Faults, AnAddressThatExpiredIsAskedForAgain) {
  hub_.alter_content = between(3, 5, "", [](FakeReply& reply) { reply = {.status = 403}; });
  pull(options_);
  expect_all_files();
}

TEST_F(Faults, AServerWithoutRangesGivesFilesInOnePiece) {
  hub_.alter_content = [&](const FakeRequest& request, FakeReply& reply) {
    const std::string path = request.path.substr(std::string("/content/").size());
    reply = {.body = hub_.files.at(path).content};
  };
  pull(options_);
  expect_all_files();
}

TEST_F(Faults, AServerWithFewerBytesThanListed) {
  hub_.alter_content = first(1000, "weights", [](FakeReply& reply) { reply = {.status = 416}; });
  EXPECT_TRUE(says(pull_error(ErrorCode::bad_input), "fewer bytes than its list says"));
}

TEST_F(Faults, ALoginPageIsNoFile) {
  hub_.alter_content = first(1000, "weights", [](FakeReply& reply) {
    reply = {.headers = {{"Content-Type", "text/html; charset=utf-8"}}, .body = "<html>"};
  });
  EXPECT_TRUE(says(pull_error(ErrorCode::bad_input), "a web page instead of the file"));
}

TEST_F(Faults, ACompressedAnswerIsNotTaken) {
  hub_.alter_content = first(1000, "weights", [](FakeReply& reply) {
    reply.headers.emplace_back("Content-Encoding", "gzip");
  });
  EXPECT_TRUE(says(pull_error(ErrorCode::io), "a compressed answer"));
}

TEST_F(Faults, ARunThatFailedIsContinued) {
  options_.include = {"weights.bin"};
  options_.patience.retries = 0;
  hub_.alter_content = between(5, 6, "", [](FakeReply& reply) { reply.cut_after = 100; });
  pull_error(ErrorCode::io);
  EXPECT_FALSE(fs::exists(options_.output / "weights.bin"));
  const PullResult done = pull(options_);
  expect_file("weights.bin");
  expect_nothing_partial();
  EXPECT_GT(done.plan.files[0].present_bytes, 0);
  EXPECT_EQ(done.fetched_bytes, done.plan.missing_bytes);
}

// With Ctrl-C while bytes trickle in.
TEST_F(Faults, AnInterruptedRunStopsAtOnceAndIsContinued) {
  options_.include = {"weights.bin"};
  std::stop_source stop;
  options_.stop = stop.get_token();
  std::chrono::steady_clock::time_point asked_at;
  hub_.alter_content = first(4, "", [](FakeReply& reply) { reply.stall_after = 3000; });
  options_.patience.stall = std::chrono::seconds(30);
  options_.on_progress = [&](const PullProgress& progress) {
    if (progress.done < 3000 || stop.stop_requested()) return;
    asked_at = std::chrono::steady_clock::now();
    stop.request_stop();
  };
  EXPECT_TRUE(says(pull_error(ErrorCode::interrupted), "the same command continues"));
  EXPECT_LT(std::chrono::steady_clock::now() - asked_at, milliseconds(500));
  options_.stop = {};
  const PullResult done = pull(options_);
  expect_file("weights.bin");
  expect_nothing_partial();
  EXPECT_GE(done.plan.files[0].present_bytes, 3000);
  EXPECT_EQ(done.fetched_bytes, done.plan.missing_bytes);
}

TEST_F(Faults, TooLittleRoomIsSaidBeforeTheFirstByte) {
  // A list of sizes that no disk has.
  hub_.alter_hub = first(1, "/tree/", [](FakeReply& reply) {
    const std::string size = fmt::format("\"size\":{}", 10 * kSegment + 7);
    for (size_t at = 0; (at = reply.body.find(size)) != std::string::npos;) {
      reply.body.replace(at, size.size(), "\"size\":4000000000000000000");
    }
  });
  EXPECT_TRUE(says(pull_error(ErrorCode::io), "make room or choose another disk"));
  EXPECT_FALSE(fs::exists(options_.output));
}

}  // namespace
}  // namespace squint::hub
