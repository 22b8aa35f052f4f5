#include "hub/url.h"

#include <gtest/gtest.h>

namespace squint::hub {
namespace {

TEST(Url, EncodesEverythingThatMeansSomething) {
  EXPECT_EQ(encode_component("refs/pr/1"), "refs%2Fpr%2F1");
  EXPECT_EQ(encode_path("a b/c#d%+?ü"), "a%20b/c%23d%25%2B%3F%C3%BC");
}

TEST(Url, OneServerHasOneOrigin) {
  EXPECT_EQ(origin_of("https://Hub.example:443/a?b#c"), "https://hub.example");
  EXPECT_EQ(origin_of("http://hub.example:80"), "http://hub.example");
  EXPECT_EQ(origin_of("http://hub.example:8080/"), "http://hub.example:8080");
  EXPECT_EQ(origin_of("https://hub.example?x"), "https://hub.example");
}

// Programs disagree about whose address these are; whoever sends a token must not guess.
TEST(Url, AddressesThatCouldMeanTwoServersAreNone) {
  for (const char* url :
       {"https://hub.example@evil.example/", "https://evil.example\\@hub.example/", "https:///path",
        "ftp://hub.example/", "file:///etc/passwd", "https://hub.example/a b", "hub.example", "",
        "https://hub.example/\r\nHost: evil"}) {
    EXPECT_EQ(origin_of(url), std::nullopt) << url;
  }
}

TEST(Url, ResolvesWhatALocationMayBe) {
  const char* base = "https://hub.example/a/b?c=/d";
  EXPECT_EQ(resolve(base, "http://other.example/x"), "http://other.example/x");
  EXPECT_EQ(resolve(base, "//other.example/x"), "https://other.example/x");
  EXPECT_EQ(resolve(base, "/x?y"), "https://hub.example/x?y");
  EXPECT_EQ(resolve(base, "x"), "https://hub.example/a/x");
  EXPECT_EQ(resolve("https://hub.example", "x"), "https://hub.example/x");
  EXPECT_EQ(resolve(base, "/x?to=http://other.example"),
            "https://hub.example/x?to=http://other.example");
}

TEST(Url, MessagesShowNoSignatureAndNoPassword) {
  EXPECT_EQ(shown("https://user:password@cdn.example/file?Signature=1#x"),
            "https://cdn.example/file");
}

}  // namespace
}  // namespace squint::hub
