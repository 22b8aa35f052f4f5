#include "hub/session.h"

#include <gtest/gtest.h>

#include <ctime>

#include "io/error_of.h"

namespace squint::hub {
namespace {

using std::chrono::seconds;
using test::error_of;
using test::says;

std::optional<seconds> wait_for(const std::string& header, const std::string& value) {
  return asked_wait({.status = 429, .headers = {{header, value}}});
}

HttpResult answer(int status) { return {.response = {.status = status}}; }

TEST(Session, TriesAgainWhatMayPass) {
  for (const int status : {408, 429, 500, 502, 503, 504}) {
    EXPECT_EQ(judge(answer(status)), Verdict::again) << status;
  }
  for (const int status : {400, 401, 403, 404, 416, 501}) {
    EXPECT_EQ(judge(answer(status)), Verdict::wrong) << status;
  }
  EXPECT_EQ(judge({.response = {.status = 206}, .failure = "cut"}), Verdict::again);
  EXPECT_EQ(judge({.failure = "certificate", .hopeless = true}), Verdict::wrong);
}

TEST(Session, ReadsWhatAHubAsksFor) {
  EXPECT_EQ(wait_for("Retry-After", "17"), seconds(17));
  EXPECT_EQ(wait_for("retry-after", "Wed, 21 Oct 2015 07:28:00 GMT"), seconds(0));
  char date[64];
  const std::time_t later = std::time(nullptr) + 100;
  std::strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S GMT", std::gmtime(&later));
  EXPECT_NEAR(static_cast<double>(wait_for("Retry-After", date)->count()), 100, 2);
  EXPECT_EQ(wait_for("RateLimit", "\"resolvers\";r=0;t=55"), seconds(56));
  EXPECT_EQ(wait_for("RateLimit", "\"resolvers\";r=12;t=55"), std::nullopt);
  EXPECT_EQ(wait_for("Retry-After", "soon"), std::nullopt);
  EXPECT_EQ(wait_for("Retry-After", "-1"), std::nullopt);
}

class Sessions : public ::testing::Test {
 protected:
  std::string target(const std::string& from, const std::string& location) const {
    return session_.redirect_target(from, {.status = 302, .headers = {{"Location", location}}});
  }

  PullOptions options_;
  HttpClient client_{options_.patience};
  Session session_{client_,
                   {.endpoint = "https://mirror.example",
                    .usual = "https://huggingface.co",
                    .token = "secret",
                    .token_cookie = "",
                    .name = "Hugging Face"},
                   options_};
};

TEST_F(Sessions, ATokenGoesToOneServer) {
  EXPECT_EQ(session_.headers_for("https://mirror.example/a").size(), 1U);
  EXPECT_EQ(session_.headers_for("https://MIRROR.example:443/a").size(), 1U);
  for (const char* url :
       {"http://mirror.example/a", "https://mirror.example:8443/a", "https://huggingface.co/a",
        "https://mirror.example.evil.example/a", "https://mirror.example@evil.example/",
        "https://evil.example\\@mirror.example/", "https://cdn.mirror.example/"}) {
    EXPECT_TRUE(session_.headers_for(url).empty()) << url;
  }
}

TEST_F(Sessions, NoWayLeadsFromHttpsToHttp) {
  EXPECT_TRUE(
      says(error_of(ErrorCode::unsupported,
                    [&] { target("https://mirror.example/a", "http://cdn.example/a?sig=1"); }),
           "redirects from https to http://cdn.example/a, which"));
  EXPECT_EQ(target("http://mirror.example/a", "http://cdn.example/a"), "http://cdn.example/a");
  EXPECT_EQ(target("https://mirror.example/a", "https://cdn.example/a"), "https://cdn.example/a");
}

TEST_F(Sessions, AMirrorStandsInForTheUsualHub) {
  EXPECT_EQ(target("https://mirror.example/a", "https://huggingface.co/b"),
            "https://mirror.example/b");
  EXPECT_EQ(target("https://mirror.example/a", "https://huggingface.co.evil.example/b"),
            "https://huggingface.co.evil.example/b");
}

}  // namespace
}  // namespace squint::hub
