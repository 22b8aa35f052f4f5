#include "io/parquet.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/json.h"
#include "io/error_of.h"
#include "support/paths.h"

namespace squint::io {
namespace {

namespace fs = std::filesystem;
using test::error_of;
using test::says;
using Kind = ParquetValue::Kind;

fs::path fixtures() { return test::repo_dir() / "tests/data/parquet"; }

std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}

OrderedJson json_of(const ParquetValue& value) {
  switch (value.kind) {
    case Kind::null:
      return nullptr;
    case Kind::integer:
      return value.integer;
    case Kind::real:
      return value.real;
    case Kind::bytes:
      return value.bytes;
    case Kind::list: {
      OrderedJson list = OrderedJson::array();
      for (const ParquetValue& item : value.items) list.push_back(json_of(item));
      return list;
    }
    case Kind::group:
      break;
  }
  OrderedJson object = OrderedJson::object();
  for (size_t i = 0; i < value.items.size(); ++i) {
    object[value.group->children[i].name] = json_of(value.items[i]);
  }
  return object;
}

OrderedJson read_all(const ParquetFile& file, std::span<const std::string_view> columns) {
  ParquetRows reader(file, columns);
  OrderedJson rows = OrderedJson::array();
  for (int64_t i = 0; i < file.rows(); ++i) {
    const std::vector<ParquetValue> values = reader.read(i);
    OrderedJson& row = rows.emplace_back(OrderedJson::object());
    for (size_t c = 0; c < columns.size(); ++c) row[std::string(columns[c])] = json_of(values[c]);
  }
  return rows;
}

constexpr std::string_view kColumns[] = {"id",   "count", "score", "share", "flag",
                                         "name", "code",  "grid",  "tags",  "messages"};
constexpr std::string_view kMessages[] = {"messages"};

TEST(ParquetTest, FixturesOfTheSpecification) {
  const std::string_view image_answer[] = {"image", "answer"};
  const ParquetFile f1(fixtures() / "spec-f1.parquet");
  EXPECT_EQ(read_all(f1, kMessages).dump(),
            R"([{"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":null}]},)"
            R"({"messages":[]},{"messages":null}])");
  const ParquetFile f2(fixtures() / "spec-f2.parquet");
  ParquetRows rows(f2, image_answer);
  const std::vector<ParquetValue> first = rows.read(0);
  ASSERT_NE(first[0].find("bytes"), nullptr);
  EXPECT_EQ(first[0].find("bytes")->bytes, "\x89PNG");
  EXPECT_EQ(first[0].find("path")->kind, Kind::null);
  EXPECT_EQ(first[0].find("size"), nullptr);
  EXPECT_EQ(json_of(first[1]).dump(), R"(["A","bc"])");
  const std::vector<ParquetValue> second = rows.read(1);
  EXPECT_EQ(second[0].kind, Kind::null);
  EXPECT_EQ(json_of(second[1]).dump(), "[]");
}

class ParquetVariants : public ::testing::TestWithParam<const char*> {
 protected:
  fs::path path() const { return fixtures() / (std::string(GetParam()) + ".parquet"); }
};

TEST_P(ParquetVariants, HoldTheSameRows) {
  const OrderedJson expected =
      parse_ordered_json(test::read_text(fixtures() / "rows.json"), "rows.json");
  const ParquetFile file(path());
  const OrderedJson rows = read_all(file, kColumns);
  ASSERT_EQ(rows.size(), expected.size());
  for (size_t i = 0; i < rows.size(); ++i) EXPECT_EQ(rows[i].dump(), expected[i].dump()) << i;
}

TEST_P(ParquetVariants, RowsCanBeSkipped) {
  const OrderedJson expected =
      parse_ordered_json(test::read_text(fixtures() / "rows.json"), "rows.json");
  const std::string_view columns[] = {"messages", "name"};
  const ParquetFile file(path());
  for (int64_t stride = 2; stride < 20; ++stride) {
    ParquetRows reader(file, columns);
    for (int64_t row = stride - 1; row < file.rows(); row += stride) {
      const std::vector<ParquetValue> values = reader.read(row);
      EXPECT_EQ(json_of(values[0]), expected[static_cast<size_t>(row)]["messages"]) << row;
      EXPECT_EQ(json_of(values[1]), expected[static_cast<size_t>(row)]["name"]) << row;
    }
  }
}

// Whatever the bytes, the answer is rows or an error.
void read_damaged(const std::string& bytes) {
  try {
    const ParquetFile file(bytes_of(bytes), "damaged");
    ParquetRows reader(file, kColumns);
    for (int64_t i = 0; i < std::min<int64_t>(file.rows(), 30); ++i) reader.read(i);
  } catch (const Error& e) {
    EXPECT_TRUE(e.code() == ErrorCode::bad_input || e.code() == ErrorCode::unsupported);
    EXPECT_TRUE(says(e.what(), "damaged"));
  }
}

TEST_P(ParquetVariants, DamageIsSurvived) {
  const std::string whole = test::read_text(path());
  for (size_t at = 0; at < whole.size(); at += 3) {
    std::string damaged = whole;
    damaged[at] = static_cast<char>(whole[at] ^ (1 << at % 8));
    read_damaged(damaged);
  }
  for (size_t size = 0; size < whole.size(); size += 7) read_damaged(whole.substr(0, size));
}

INSTANTIATE_TEST_SUITE_P(Files, ParquetVariants,
                         ::testing::Values("dictionary-snappy", "fallback-gzip", "plain-zstd-v2",
                                           "delta-none-v2"),
                         [](const auto& variant) {
                           std::string name = variant.param;
                           std::ranges::replace(name, '-', '_');
                           return name;
                         });

TEST(ParquetTest, WhatIsNotReadIsNamed) {
  const std::string_view id[] = {"id"};
  const auto message = [&](const char* name) {
    const ParquetFile file(fixtures() / name);
    return error_of(ErrorCode::unsupported, [&] { ParquetRows(file, id).read(0); });
  };
  EXPECT_TRUE(says(message("brotli.parquet"), "compressed with brotli"));
  EXPECT_TRUE(says(message("brotli.parquet"), "row group 0, column \"id\""));
  EXPECT_TRUE(says(message("split.parquet"), "BYTE_STREAM_SPLIT"));
  // Other columns of such a file are no obstacle.
  const std::string_view name[] = {"name"};
  const ParquetFile file(fixtures() / "split.parquet");
  EXPECT_EQ(ParquetRows(file, name).read(1)[0].bytes, "");
}

TEST(ParquetTest, ColumnsThatAreNotThereAreNamed) {
  const ParquetFile file(fixtures() / "spec-f2.parquet");
  EXPECT_EQ(file.columns(), (std::vector<std::string>{"image", "answer"}));
  const std::string message = error_of(ErrorCode::bad_input, [&] { ParquetRows(file, kMessages); });
  EXPECT_TRUE(says(message, "has no column \"messages\", only image, answer"));
}

TEST(ParquetTest, OtherFilesAreRefused) {
  const auto refuse = [](ErrorCode code, const std::string& bytes, const std::string& part) {
    EXPECT_TRUE(says(error_of(code, [&] { ParquetFile(bytes_of(bytes), "x.parquet"); }), part));
  };
  const std::string f1 = test::read_text(fixtures() / "spec-f1.parquet");
  refuse(ErrorCode::bad_input, "version https://git-lfs", "x.parquet: expected a Parquet file");
  refuse(ErrorCode::bad_input, f1.substr(0, 200), "this one ends early");
  refuse(ErrorCode::unsupported, f1.substr(0, f1.size() - 1) + "E", "encrypted");
  std::string long_footer = f1;
  long_footer[f1.size() - 5] = 1;
  refuse(ErrorCode::bad_input, long_footer, "16777427 bytes of metadata in a file of 326");
}

TEST(ParquetTest, ChecksumsAreChecked) {
  std::string bytes = test::read_text(fixtures() / "delta-none-v2.parquet");
  const size_t at = bytes.find("long answer");
  ASSERT_NE(at, std::string::npos);
  bytes[at] = 'L';
  const ParquetFile file(bytes_of(bytes), "x.parquet");
  EXPECT_TRUE(says(error_of(ErrorCode::bad_input, [&] { read_all(file, kMessages); }),
                   "x.parquet: row group 0, column \"messages\" (\"text\"): a page has not the "
                   "checksum"));
}

// Leaves of one list whose rows begin at different entries.
TEST(ParquetTest, ColumnsThatDisagreeAreRefused) {
  std::string bytes = test::read_text(fixtures() / "spec-f1.parquet");
  const std::string levels("\2\0\2\1\4\0", 6);  // runs of one 0, one 1, two 0
  const size_t content = bytes.rfind(levels);
  ASSERT_NE(content, std::string::npos);
  bytes.replace(content, levels.size(), std::string("\4\0\2\1\2\0", 6));
  const ParquetFile file(bytes_of(bytes), "x.parquet");
  EXPECT_TRUE(says(error_of(ErrorCode::bad_input, [&] { read_all(file, kMessages); }),
                   "does not begin where"));
}

}  // namespace
}  // namespace squint::io
