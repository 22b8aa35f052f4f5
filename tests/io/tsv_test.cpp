#include "io/tsv.h"

#include <gtest/gtest.h>

#include "io/error_of.h"

namespace squint::io {
namespace {

using test::error_of;
using test::says;
using Rows = std::vector<std::vector<std::string>>;

Rows rows_of(std::string_view text) {
  TsvReader reader(text, "t.tsv");
  Rows out;
  std::vector<TsvField> fields;
  while (reader.next(fields)) {
    auto& row = out.emplace_back();
    for (const TsvField& field : fields) row.push_back(field.text());
  }
  return out;
}

TEST(Tsv, FieldsInAnyForm) {
  EXPECT_EQ(rows_of("a\tb\n1\t2\n"), (Rows{{"1", "2"}}));
  EXPECT_EQ(rows_of("a\tb\r\n1\t\"x \"\"y\"\" z\"\r\n"), (Rows{{"1", "x \"y\" z"}}));
  EXPECT_EQ(rows_of("a\tb\n\"tab\there\"\t\"line\nthere\""), (Rows{{"tab\there", "line\nthere"}}));
  EXPECT_EQ(rows_of("a\tb\n\t\n1\t"), (Rows{{"", ""}, {"1", ""}}));
  EXPECT_EQ(rows_of("a\n\n\r\nx\n\n"), (Rows{{"x"}}));
  EXPECT_EQ(rows_of("a\nit's \"so\"\n"), (Rows{{"it's \"so\""}}));
  EXPECT_EQ(rows_of("a\nb\rc\n"), (Rows{{"b\rc"}}));
  EXPECT_TRUE(rows_of("a\tb\n").empty());
}

TEST(Tsv, ColumnsByName) {
  const TsvReader reader("\xEF\xBB\xBFone\t\"two\"\n", "t.tsv");
  EXPECT_EQ(reader.column({"none", "two"}), 1u);
  EXPECT_EQ(reader.column({"one"}), 0u);
  EXPECT_EQ(reader.column({"none"}), std::nullopt);
}

TEST(Tsv, KnowsTheLine) {
  TsvReader reader("a\n\"x\ny\"\n\nz\n", "t.tsv");
  std::vector<TsvField> fields;
  reader.next(fields);
  EXPECT_EQ(reader.line(), 2);
  reader.next(fields);
  EXPECT_EQ(reader.line(), 5);
}

TEST(Tsv, SaysWhereItIsDamaged) {
  const auto refuse = [](std::string_view text, std::string_view part) {
    const std::string message = error_of(ErrorCode::bad_input, [&] { rows_of(text); });
    EXPECT_TRUE(says(message, std::string(part))) << text;
  };
  refuse("", "t.tsv line 1: expected a line with the names");
  refuse("a\ta\n", "\"a\" twice");
  refuse("a\tb\n1\n", "line 2: expected 2 fields, as the header has, found 1");
  refuse("a\n1\t2\n", "found 2");
  refuse("a\n\"b\n", "line 2: a quote does not end");
  refuse("a\n\"b\"c\n", "text behind a quote");
  refuse(std::string(2000, '\t'), "more than 1024 fields");
}

}  // namespace
}  // namespace squint::io
