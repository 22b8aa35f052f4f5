// tsv.h: tables of tab-separated values as pandas writes them (spec ocrbench-data-hubs.md §1.3.3).
//
// UTF-8; the first row names the columns. A field that begins with a quote ends with one; in
// between two quotes stand for one, and tabs and line ends are text. Lines end in LF or CRLF; lines
// without anything are passed over.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace squint::io {

struct TsvField {
  std::string_view raw;  // without the quotes around it
  bool quoted = false;

  std::string text() const;
};

// Reads rows of `text`, which it only refers to: a mapped file is never copied as a whole.
class TsvReader {
 public:
  // `where` names it in messages. Throws Error(bad_input) where there is no header, or one that
  // names a column twice.
  TsvReader(std::string_view text, std::string where);

  // The first of `names` that is a column.
  std::optional<size_t> column(const std::vector<std::string_view>& names) const;
  // As many fields as there are columns; false behind the last row. Throws Error(bad_input) for
  // another number, and for quotes that do not end or end inside a field.
  bool next(std::vector<TsvField>& fields);
  int64_t line() const { return line_; }  // on which the row that was read begins

 private:
  bool at_end() const { return rest_.empty(); }
  TsvField field();
  bool end_line();
  [[noreturn]] void fail(std::string_view what) const;

  std::string_view rest_;
  std::string where_;
  std::vector<std::string> columns_;
  int64_t line_ = 0;
  int64_t next_line_ = 1;
};

}  // namespace squint::io
