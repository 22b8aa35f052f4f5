// The published vocabulary: 151,643 entries, and the vectors of spec qwen3-vl.md, appendix A.1.
#include <gtest/gtest.h>

#include "support/paths.h"
#include "text/tokenizer.h"
#include "text/tokenizer_goldens.h"

namespace squint::text {
namespace {

using Ids = std::vector<int32_t>;

class PublishedTokenizer : public testing::Test {
 protected:
  void SetUp() override {
    if (!test::shared_data()) GTEST_SKIP() << test::kNoShared;
  }
  static std::string golden(const char* name) {
    return test::read_text(*test::shared_data() / "goldens" / name);
  }
  static const Tokenizer& tokenizer() {
    static const Tokenizer tokenizer = Tokenizer::parse(
        test::read_text(*test::shared_data() / "qwen3-vl-tokenizer/tokenizer.json"),
        "tokenizer.json");
    return tokenizer;
  }
};

TEST_F(PublishedTokenizer, AgreesWithTheRecordedTexts) {
  expect_texts(tokenizer(), golden("tokenizer-qwen3.jsonl"), 1949);
}

TEST_F(PublishedTokenizer, AgreesWithTheRecordedDecodings) {
  expect_decoded(tokenizer(), golden("tokenizer-qwen3-bytes.jsonl"), 300);
}

TEST_F(PublishedTokenizer, AddedTokens) {
  EXPECT_EQ(tokenizer().size(), 151669);
  EXPECT_EQ(tokenizer().token_id("<|im_start|>"), 151644);
  EXPECT_EQ(tokenizer().token_id("<|image_pad|>"), 151655);
  EXPECT_EQ(tokenizer().token_id("</think>"), 151668);
  for (int32_t id = 151643; id < 151669; ++id) {
    EXPECT_EQ(tokenizer().is_special(id), id <= 151656) << id;
    EXPECT_EQ(tokenizer().encode(tokenizer().bytes(id)), Ids{id});
  }
  EXPECT_EQ(tokenizer().bytes(151669), "");
}

TEST_F(PublishedTokenizer, VectorsOfTheSpecification) {
  const std::pair<const char*, Ids> vectors[] = {
      {"Describe this image.", {74785, 419, 2168, 13}},
      {"Hello, world! It's 2024.\n\n  indented\tTAB  end  ",
       {9707, 11,  1879, 0,    1084,  594,   220,  17,  15,  17,
        19,   382, 220,  1257, 15864, 10261, 1867, 220, 835, 256}},
      {"I'LL don't WE'RE", {40, 6, 4086, 1513, 944, 19677, 94153}},
      {"你好，世界！", {108386, 3837, 99489, 6313}},
      {"caf\u00e9 cafe\u0301 \u212b", {924, 58858, 51950, 79252}},
      {"\U0001F469\u200d\U0001F4BB code", {145233, 378, 235, 145851, 2038}},
      {"a\r\n\r\nb \n c", {64, 871, 65, 715, 272}},
      {"x=1234567890;", {87, 28, 16, 17, 18, 19, 20, 21, 22, 23, 24, 15, 26}},
      {"def f(x):\n    return x**2\n", {750, 282, 2075, 982, 262, 470, 856, 334, 17, 198}},
      {"<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n",
       {151644, 8948, 198, 2610, 525, 264, 10950, 17847, 13, 151645, 198}},
      {"Picture 1: ", {24669, 220, 16, 25, 220}},
      {"  \n  x", {2303, 220, 856}},
      {"   ", {262}},
      {" 's", {364, 82}},
      {"\n\n", {271}},
      {"naïve—test…", {3376, 37572, 586, 2293, 1944, 1940}},
      {"हिन्दी भाषा", {93948, 42311, 101, 30484, 99, 43647, 14925, 255, 31411, 115, 23868}},
      {"A\u00a0B", {32, 4102, 33}},
      {"\u3000x", {22441, 87}},
      {"<0.2 seconds>", {27, 15, 13, 17, 6486, 29}},
      {"<11.5 seconds>", {27, 16, 16, 13, 20, 6486, 29}},
      {"a<|im_end|>b", {64, 151645, 65}},
  };
  for (const auto& [text, ids] : vectors) EXPECT_EQ(tokenizer().encode(text), ids) << text;
}

}  // namespace
}  // namespace squint::text
