#include "io/base64.h"

#include <gtest/gtest.h>

#include "io/error_of.h"

namespace squint::io {
namespace {

TEST(Base64, Rfc4648) {
  EXPECT_EQ(decode_base64("", "x"), "");
  EXPECT_EQ(decode_base64("Zg==", "x"), "f");
  EXPECT_EQ(decode_base64("Zm8=", "x"), "fo");
  EXPECT_EQ(decode_base64("Zm9v", "x"), "foo");
  EXPECT_EQ(decode_base64("Zm9v\nYmFy\n", "x"), "foobar");
  EXPECT_EQ(decode_base64("/+8A", "x"), std::string("\xff\xef\0", 3));
}

TEST(Base64, ThereAndBack) {
  std::string bytes;
  for (int i = 0; i < 3'000'000; ++i) bytes += static_cast<char>(int64_t{i} * i % 251);
  EXPECT_EQ(encode_base64("fo"), "Zm8=");
  EXPECT_EQ(encode_base64(""), "");
  for (const size_t size :
       {size_t{3'000'000}, size_t{2'999'999}, size_t{1'048'575}, size_t{1'048'576}}) {
    const std::string part = bytes.substr(0, size);
    EXPECT_EQ(decode_base64(encode_base64(part), "x"), part);
  }
}

TEST(Base64, LongerThanAPart) {
  std::string text;
  std::string expected;
  for (int i = 0; i < 400'000; ++i) {
    text += "Zm9v";
    expected += "foo";
  }
  EXPECT_EQ(decode_base64(text, "x"), expected);
}

TEST(Base64, AnythingElseIsRefused) {
  for (const char* text : {"Z", "Zg", "Zg=", "Zm9v?", "=", "Zg==Zg==", "Zm9-"}) {
    const std::string message =
        test::error_of(ErrorCode::bad_input, [&] { decode_base64(text, "t.tsv line 7"); });
    EXPECT_TRUE(test::says(message, "t.tsv line 7: expected base64, found")) << text;
  }
}

}  // namespace
}  // namespace squint::io
