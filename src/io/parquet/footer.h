// footer.h: what a Parquet file says of itself: its columns, and where their bytes lie (spec
// ocrbench-data-hubs.md §4.2, §4.3).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace squint::io::parquet {

// As numbered in the format; int96 is not decoded.
enum class PhysicalType : uint8_t {
  boolean,
  int32,
  int64,
  int96,
  float32,
  float64,
  byte_array,
  fixed_byte_array,
};

// A column, a field of a group, a list's wrapping, or the root.
struct Node {
  std::string name;
  bool optional = false;
  bool repeated = false;
  // Definition and repetition level of a value that is there (§4.3).
  int max_def = 0;
  int max_rep = 0;
  // A LIST or MAP and the middle of a LIST only wrap their child: a reader sees the child instead.
  bool wraps = false;
  int leaf = -1;  // number of the leaf among all, -1 for groups
  // Of leaves:
  PhysicalType type = PhysicalType::byte_array;
  int64_t type_length = 0;  // of fixed_byte_array
  bool is_text = false;     // UTF-8, as the writer says
  std::vector<Node> children;

  bool is_leaf() const { return leaf >= 0; }
  const Node& first_leaf() const { return is_leaf() ? *this : children.front().first_leaf(); }
};

// A leaf's part of a row group.
struct ColumnChunk {
  PhysicalType type = PhysicalType::byte_array;
  int codec = 0;           // as numbered in the format; see codec.h
  int64_t num_values = 0;  // entries: values, nulls and empty lists
  int64_t begin = 0;       // bytes of the file, checked to lie in it
  int64_t bytes = 0;
};

struct RowGroup {
  int64_t rows = 0;
  std::vector<ColumnChunk> columns;  // one per leaf, in order
};

struct Footer {
  Node root;
  std::vector<RowGroup> groups;
  int64_t rows = 0;  // of all groups
};

// Throws Error(bad_input) for what is no Parquet file or contradicts itself, Error(unsupported) for
// encrypted files and columns kept in other files. `where` names the file.
Footer read_footer(std::span<const std::byte> file, std::string_view where);

}  // namespace squint::io::parquet
