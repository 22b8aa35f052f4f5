// parquet.h: rows of a Parquet file (spec ocrbench-data-hubs.md §4).
//
//     const io::ParquetFile file("llm.parquet");
//     io::ParquetRows rows(file, {"messages"});
//     const io::ParquetValue messages = rows.read(17).items[0];
//
// Any nesting of lists, maps and groups; pages of versions 1 and 2; dictionaries, plain values and
// deltas; uncompressed, snappy, gzip and zstd. Not read: encryption, INT96, other codecs.
//
// The file is mapped. In memory are the footer, a page and a dictionary of each column that is
// read, and the row that was asked for: at most 2^20 values and 512 MiB.
//
// Error(bad_input): no Parquet file, damaged, or rows larger than that. Error(unsupported) names
// what is not read. Error(io) as in mapped_file.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/tensor.h"
#include "io/parquet/column.h"
#include "io/parquet/footer.h"

namespace squint::io {

struct ParquetValue {
  enum class Kind : uint8_t { null, integer, real, bytes, list, group };

  Kind kind = Kind::null;
  int64_t integer = 0;  // truth values too
  double real = 0;
  std::string bytes;                // strings too
  std::vector<ParquetValue> items;  // of a list; of a group, its fields
  // The names of a group's fields. Lives as long as the file.
  const parquet::Node* group = nullptr;

  // A field of a group, or nullptr where there is none of that name.
  const ParquetValue* find(std::string_view field) const;
};

class ParquetFile {
 public:
  explicit ParquetFile(const std::filesystem::path& path);
  // `bytes` must outlive the file; `name` names it in messages.
  ParquetFile(std::span<const std::byte> bytes, std::string name);

  int64_t rows() const { return footer_.rows; }
  std::vector<std::string> columns() const;  // names, in order

 private:
  friend class ParquetRows;

  std::shared_ptr<Storage> mapping_;
  std::span<const std::byte> bytes_;
  std::string name_;
  parquet::Footer footer_;
};

// Reads chosen columns of rows in ascending order.
class ParquetRows {
 public:
  // The file must outlive this. Error(bad_input) for a column that it does not have.
  ParquetRows(const ParquetFile& file, std::span<const std::string_view> columns);

  // The columns of a row, in the order asked for. Each row must lie behind the last one.
  std::vector<ParquetValue> read(int64_t row);

 private:
  void open_group();
  void skip_row();
  ParquetValue field(const parquet::Node& node);
  ParquetValue body(const parquet::Node& node);
  void advance(const parquet::Node& node);
  parquet::ColumnReader& reader(const parquet::Node& leaf) {
    return *readers_[static_cast<size_t>(leaf.leaf)];
  }
  void expect_row_start(const parquet::Node& node);
  void count(int64_t bytes, const parquet::ColumnReader& at);

  const ParquetFile& file_;
  std::vector<const parquet::Node*> columns_;
  // By leaf; those not asked for are empty.
  std::vector<std::unique_ptr<parquet::ColumnReader>> readers_;
  size_t group_ = 0;       // whose readers these are, once there are any
  int64_t group_row_ = 0;  // the file's number of its first row
  int64_t next_ = 0;       // row at which the readers stand
  int64_t values_ = 0;     // of the row being read
  int64_t value_bytes_ = 0;
};

}  // namespace squint::io
