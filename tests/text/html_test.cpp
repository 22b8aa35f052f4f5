#include "text/html.h"

#include <gtest/gtest.h>

namespace squint::text {
namespace {

TEST(Html, NothingIsMarkup) {
  EXPECT_EQ(escaped("a < b && \"c\" > d"), "a &lt; b &amp;&amp; &quot;c&quot; &gt; d");
}

TEST(Html, WhatPagesMayNotHoldIsReplaced) {
  EXPECT_EQ(escaped("a\x1b[31m\n\tb\x7f"), "a\uFFFD[31m\n\tb\uFFFD");
  EXPECT_EQ(escaped("\xff\u00e9"), "\uFFFD\u00e9");
}

}  // namespace
}  // namespace squint::text
