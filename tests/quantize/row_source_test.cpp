#include "quantize/row_source.h"

#include <gtest/gtest.h>

#include <numeric>
#include <string>
#include <vector>

#include "io/error_of.h"
#include "support/paths.h"

namespace squint::quantize {
namespace {

namespace fs = std::filesystem;
using test::error_of;
using test::says;

const text::Tokenizer& tokenizer() {
  static const auto parsed = text::Tokenizer::parse(
      test::read_text(test::repo_dir() / "models/reader/tokenizer.json"), "tokenizer.json");
  return parsed;
}

class RowSourceTest : public ::testing::Test {
 protected:
  std::unique_ptr<RowSource> open(const fs::path& path, int64_t tokens = 0, int64_t most = 0) {
    return open_row_source(
        path, most,
        {.tokenizer = tokenizer(),
         .max_tokens = tokens,
         .read_image = [this](const RowImage& row, const std::string& prompt, int64_t, int64_t) {
           EXPECT_EQ(prompt, kReadingPrompt);
           const fs::path& image = row.path;
           asked_ += image.filename().string() + " ";
           return "answer to " + image.filename().string();
         }});
  }
  std::vector<Conversation> all(RowSource& source) {
    std::vector<int64_t> numbers(static_cast<size_t>(source.rows()));
    std::iota(numbers.begin(), numbers.end(), 0);
    return source.read(numbers);
  }
  std::vector<std::string> rows_of_text(const std::string& text, int64_t tokens) {
    test::write_text(dir_.path() / "a.txt", text);
    std::vector<std::string> rows;
    for (const Conversation& row : all(*open(dir_.path() / "a.txt", tokens))) {
      EXPECT_TRUE(row.messages.empty());
      EXPECT_EQ(row.max_tokens, tokens);
      rows.push_back(row.text);
    }
    return rows;
  }

  test::TempDir dir_;
  std::string asked_;
};

using Rows = std::vector<std::string>;

TEST_F(RowSourceTest, ShortTextIsOneRow) {
  EXPECT_EQ(rows_of_text("\n one\n\ntwo \n\n", 512), (Rows{"one\n\ntwo"}));
  EXPECT_EQ(rows_of_text("\xEF\xBB\xBFone", 512), (Rows{"one"}));
  EXPECT_EQ(rows_of_text("", 512), Rows{});
  EXPECT_EQ(rows_of_text(" \n\n", 512), Rows{});
}

// A row ends at the best place of its second half.
TEST_F(RowSourceTest, LongTextIsCutWhereItPauses) {
  const auto rows = [&](const std::string& text, const std::string& fits) {
    return rows_of_text(text, static_cast<int64_t>(tokenizer().encode(fits).size()));
  };
  EXPECT_EQ(rows("a a a\n\nb b b\n\nc c c", "a a a\n\nb b b\n\nc"),
            (Rows{"a a a\n\nb b b", "c c c"}));
  EXPECT_EQ(rows("a a a\nb b b\nc c c", "a a a\nb b b\nc"), (Rows{"a a a\nb b b", "c c c"}));
  EXPECT_EQ(rows("a b c d e f", "a b c "), (Rows{"a b c", "d e f"}));
  // A blank line in the first half would leave too short a row.
  EXPECT_EQ(rows("a\n\nb b b b c c", "a\n\nb b b b "), (Rows{"a\n\nb b b b", "c c"}));
}

TEST_F(RowSourceTest, TextWithoutSpacesIsCutBetweenCharacters) {
  std::string text;
  for (int i = 0; i < 50; ++i) text += "漢字é😀";
  const Rows rows = rows_of_text(text, 16);
  EXPECT_GT(rows.size(), 5u);
  std::string joined;
  for (const std::string& row : rows) {
    EXPECT_LE(tokenizer().encode(row).size(), 16u);
    EXPECT_EQ(row.find("\xEF\xBF\xBD"), std::string::npos);
    joined += row;
  }
  EXPECT_EQ(joined, text);
  // A character of more tokens than a row may have is a row all the same.
  EXPECT_EQ(rows_of_text("😀😀", 1), (Rows{"😀", "😀"}));
}

TEST_F(RowSourceTest, OnlyTheFirstRowsOfATextAreCut) {
  test::write_text(dir_.path() / "a.txt", std::string(1 << 20, 'x'));
  EXPECT_EQ(open(dir_.path() / "a.txt", 16, 3)->rows(), 3);
}

TEST_F(RowSourceTest, CanBeStoppedBetweenRows) {
  test::write_text(dir_.path() / "a.txt", std::string(1 << 20, 'x'));
  int rows = 0;
  error_of(ErrorCode::interrupted, [&] {
    open_row_source(dir_.path() / "a.txt", 0,
                    {.tokenizer = tokenizer(), .read_image = {}, .on_row = [&] {
                       if (++rows == 3) throw Error(ErrorCode::interrupted, "stop");
                     }});
  });
  EXPECT_EQ(rows, 3);
}

TEST_F(RowSourceTest, WhatIsNoTextIsRefused) {
  for (const std::string& text : {std::string("ab\0c", 4), std::string("ab\xE9 c")}) {
    test::write_text(dir_.path() / "a.txt", text);
    EXPECT_TRUE(says(error_of(ErrorCode::bad_input, [&] { open(dir_.path() / "a.txt"); }),
                     "expected UTF-8 text, found other bytes at byte 2"));
  }
}

TEST_F(RowSourceTest, ParquetHoldsConversationsWithImages) {
  const auto source = open(test::repo_dir() / "tests/data/parquet/dictionary-snappy.parquet");
  EXPECT_EQ(source->rows(), 20);
  const std::vector<int64_t> numbers = {1, 9, 17};
  const std::vector<Conversation> rows = source->read(numbers);
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_TRUE(rows[1].where.ends_with("dictionary-snappy.parquet row 9"));
  ASSERT_EQ(rows[0].messages.size(), 2u);
  EXPECT_EQ(rows[0].messages[0].role, "user");
  ASSERT_EQ(rows[0].messages[0].content.size(), 2u);
  EXPECT_EQ(rows[0].messages[0].content[0].kind, qwen3_vl::ContentPart::Kind::image);
  EXPECT_EQ(rows[0].messages[0].content[1].text, "what is 1?");
  ASSERT_EQ(rows[0].images.size(), 1u);
  EXPECT_EQ(*rows[0].images[0].bytes, "pixels of 1");
  EXPECT_EQ(rows[0].messages[1].content.at(0).text, "a very long answer 1");
  EXPECT_TRUE(rows[1].images.empty());
  EXPECT_EQ(*rows[2].images.at(0).bytes, "pixels of 17");
}

TEST_F(RowSourceTest, ParquetOfAnotherKindIsRefused) {
  const auto message = error_of(
      ErrorCode::bad_input, [&] { open(test::repo_dir() / "tests/data/parquet/spec-f2.parquet"); });
  EXPECT_TRUE(says(message, "expected a column \"messages\""));
  EXPECT_TRUE(says(message, "found image, answer"));
}

TEST_F(RowSourceTest, AFolderIsItsFirstKindOfFiles) {
  const auto write = [&](const char* name, const std::string& text) {
    test::write_text(dir_.path() / name, text);
  };
  const auto names = [&] {
    std::string where;
    for (const Conversation& row : all(*open(dir_.path()))) {
      where += fs::path(row.where).filename().string() + ", ";
    }
    return where;
  };
  EXPECT_TRUE(says(error_of(ErrorCode::bad_input, [&] { open(dir_.path()); }),
                   "the folder holds nothing to calibrate with"));
  write("b.PNG", "");
  write("a.jpeg", "");
  write(".c.png", "");
  write("README.md", "text");
  EXPECT_EQ(names(), "a.jpeg, b.PNG, ");
  EXPECT_EQ(asked_, "a.jpeg b.PNG ");
  write("b.txt", "two");
  write("a.txt", "one");
  EXPECT_EQ(names(), "a.txt byte 0, b.txt byte 0, ");
  write("b.jsonl", "{\"text\": \"b\"}");
  write("a.jsonl", "{\"text\": \"a\"}\n{\"text\": \"a\"}");
  EXPECT_EQ(names(), "a.jsonl line 1, a.jsonl line 2, b.jsonl line 1, ");
  write("calibration.jsonl", "{\"text\": \"c\"}");
  EXPECT_EQ(names(), "calibration.jsonl line 1, ");
}

TEST_F(RowSourceTest, AnImageBecomesAQuestionWithItsAnswer) {
  test::write_text(dir_.path() / "a.png", "");
  const std::vector<Conversation> rows = all(*open(dir_.path() / "a.png"));
  ASSERT_EQ(rows.size(), 1u);
  EXPECT_EQ(rows[0].images.at(0).path, dir_.path() / "a.png");
  ASSERT_EQ(rows[0].messages.size(), 2u);
  EXPECT_EQ(rows[0].messages[0].content.at(1).text, kReadingPrompt);
  EXPECT_EQ(rows[0].messages[1].content.at(0).text, "answer to a.png");
  EXPECT_TRUE(says(error_of(ErrorCode::usage,
                            [&] {
                              open_row_source(dir_.path() / "a.png", 0,
                                              {.tokenizer = tokenizer(), .read_image = {}});
                            }),
                   "a model that reads them"));
}

}  // namespace
}  // namespace squint::quantize
