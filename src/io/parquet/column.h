// column.h: one leaf of one row group, entry by entry. Of its pages one is inflated at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "io/parquet/codec.h"
#include "io/parquet/footer.h"
#include "io/parquet/values.h"

namespace squint::io::parquet {

class ColumnReader {
 public:
  // Stands at the first entry. `file` and `leaf` must outlive the reader; `where` starts errors.
  ColumnReader(std::span<const std::byte> file, const Node& leaf, const ColumnChunk& chunk,
               std::string where);
  ColumnReader(const ColumnReader&) = delete;
  ColumnReader& operator=(const ColumnReader&) = delete;

  bool at_end() const { return at_end_; }
  // Of the current entry; levels as in spec §4.5. Error(bad_input) at the end.
  int rep() const { return checked(rep_); }
  int def() const { return checked(def_); }
  // Only where def() is the leaf's greatest. Bytes last until advance().
  const Scalar& value() const { return value_; }
  void advance();

  const std::string& where() const { return where_; }

 private:
  struct PageHeader;

  int checked(int level) const;
  bool next_page();
  void load_dictionary(const PageHeader& header, std::span<const std::byte> stored);
  void load_data(const PageHeader& header, std::span<const std::byte> stored);
  void load_data_v2(const PageHeader& header, std::span<const std::byte> stored);
  HybridDecoder levels(std::span<const std::byte>& page, int max, int encoding) const;
  [[noreturn]] void fail(const std::string& what) const;

  const Node& leaf_;
  std::string where_;
  int codec_;
  std::span<const std::byte> pages_;  // not yet read
  int64_t left_;                      // entries of pages not yet read

  PageBytes dictionary_page_;
  std::vector<Scalar> dictionary_;

  PageBytes page_;
  int64_t left_in_page_ = 0;
  HybridDecoder reps_;
  HybridDecoder defs_;
  std::span<const std::byte> values_;  // of the page
  int encoding_ = 0;
  std::unique_ptr<ValueDecoder> decoder_;  // made for the first value: a page may have none

  bool at_end_ = false;
  int rep_ = 0;
  int def_ = 0;
  Scalar value_;
};

}  // namespace squint::io::parquet
