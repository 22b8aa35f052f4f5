#include "io/parquet.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"
#include "io/mapped_file.h"
#include "squint/error.h"

namespace squint::io {

using parquet::Node;
using Kind = ParquetValue::Kind;

namespace {

// What a row may hold: a few bytes can claim a thousand million of either.
constexpr int64_t kMaxRowValues = int64_t{1} << 20;  // nulls, groups and lists too
constexpr int64_t kMaxRowBytes = int64_t{512} << 20;

template <class Visit>
void for_each_leaf(const Node& node, Visit&& visit) {
  if (node.is_leaf()) visit(node);
  for (const Node& child : node.children) for_each_leaf(child, visit);
}

ParquetValue value_of(const parquet::Scalar& scalar, parquet::PhysicalType type) {
  switch (type) {
    case parquet::PhysicalType::float32:
    case parquet::PhysicalType::float64:
      return {.kind = Kind::real, .real = scalar.real};
    case parquet::PhysicalType::byte_array:
    case parquet::PhysicalType::fixed_byte_array:
      return {.kind = Kind::bytes, .bytes = std::string(scalar.bytes)};
    default:
      return {.kind = Kind::integer, .integer = scalar.integer};
  }
}

}  // namespace

const ParquetValue* ParquetValue::find(std::string_view field) const {
  if (group == nullptr) return nullptr;
  const auto found = std::ranges::find(group->children, field, &Node::name);
  if (found == group->children.end()) return nullptr;
  return &items[static_cast<size_t>(found - group->children.begin())];
}

ParquetFile::ParquetFile(const std::filesystem::path& path)
    : mapping_(map_file(path)),
      bytes_(mapping_->data(), static_cast<size_t>(mapping_->bytes())),
      name_(path.string()),
      footer_(parquet::read_footer(bytes_, name_)) {}

ParquetFile::ParquetFile(std::span<const std::byte> bytes, std::string name)
    : bytes_(bytes), name_(std::move(name)), footer_(parquet::read_footer(bytes_, name_)) {}

std::vector<std::string> ParquetFile::columns() const {
  std::vector<std::string> names;
  for (const Node& column : footer_.root.children) names.push_back(column.name);
  return names;
}

ParquetRows::ParquetRows(const ParquetFile& file, std::span<const std::string_view> columns)
    : file_(file) {
  const std::vector<Node>& all = file.footer_.root.children;
  for (const std::string_view column : columns) {
    const auto found = std::ranges::find(all, column, &Node::name);
    if (found == all.end()) {
      throw Error(ErrorCode::bad_input, fmt::format("{}: has no column \"{}\", only {}", file.name_,
                                                    column, fmt::join(file.columns(), ", ")));
    }
    columns_.push_back(&*found);
  }
}

std::vector<ParquetValue> ParquetRows::read(int64_t row) {
  SQUINT_CHECK(row >= next_ && row < file_.rows());
  while (row >= group_row_ + file_.footer_.groups[group_].rows) {
    group_row_ += file_.footer_.groups[group_++].rows;
    next_ = group_row_;
    readers_.clear();
  }
  if (readers_.empty()) open_group();
  for (; next_ < row; ++next_) skip_row();
  values_ = value_bytes_ = 0;
  std::vector<ParquetValue> values;
  for (const Node* column : columns_) {
    expect_row_start(*column);
    values.push_back(field(*column));
  }
  ++next_;
  return values;
}

void ParquetRows::open_group() {
  const parquet::RowGroup& group = file_.footer_.groups[group_];
  readers_.resize(group.columns.size());
  for (const Node* column : columns_) {
    for_each_leaf(*column, [&](const Node& leaf) {
      const auto i = static_cast<size_t>(leaf.leaf);
      std::string where =
          fmt::format("{}: row group {}, column \"{}\"", file_.name_, group_, column->name);
      if (&leaf != column) where += fmt::format(" (\"{}\")", leaf.name);
      readers_[i] = std::make_unique<parquet::ColumnReader>(file_.bytes_, leaf, group.columns[i],
                                                            std::move(where));
    });
  }
}

// Columns whose leaves disagree on where rows begin would pair values of different rows.
void ParquetRows::expect_row_start(const Node& node) {
  for_each_leaf(node, [&](const Node& leaf) {
    const parquet::ColumnReader& at = reader(leaf);
    if (at.rep() == 0) return;
    throw Error(ErrorCode::bad_input,
                fmt::format("{}: row {} of the file does not begin where those of its other "
                            "columns do; is the file damaged?",
                            at.where(), next_));
  });
}

void ParquetRows::skip_row() {
  for (const Node* column : columns_) {
    for_each_leaf(*column, [&](const Node& leaf) {
      parquet::ColumnReader& at = reader(leaf);
      (void)at.rep();  // Refuses to stand at the end.
      values_ = 0;
      do {
        count(0, at);
        at.advance();
      } while (!at.at_end() && at.rep() > 0);
    });
  }
}

// The recursive descent of spec §4.5.
ParquetValue ParquetRows::field(const Node& node) {
  parquet::ColumnReader& first = reader(node.first_leaf());
  if (!node.repeated) {
    if (node.optional && first.def() < node.max_def) {
      advance(node);
      return {};
    }
    return body(node);
  }
  ParquetValue list{.kind = Kind::list};
  if (first.def() < node.max_def) {
    advance(node);
    return list;
  }
  do {
    list.items.push_back(body(node));
  } while (!first.at_end() && first.rep() == node.max_rep);
  return list;
}

ParquetValue ParquetRows::body(const Node& node) {
  if (!node.is_leaf()) {
    count(0, reader(node.first_leaf()));
    if (node.wraps) return field(node.children[0]);
    ParquetValue group{.kind = Kind::group, .group = &node};
    for (const Node& child : node.children) group.items.push_back(field(child));
    return group;
  }
  parquet::ColumnReader& at = reader(node);
  const bool there = at.def() == node.max_def;
  count(there ? static_cast<int64_t>(at.value().bytes.size()) : 0, at);
  ParquetValue value = there ? value_of(at.value(), node.type) : ParquetValue();
  at.advance();
  return value;
}

void ParquetRows::advance(const Node& node) {
  for_each_leaf(node, [&](const Node& leaf) {
    parquet::ColumnReader& at = reader(leaf);
    count(0, at);
    (void)at.rep();
    at.advance();
  });
}

void ParquetRows::count(int64_t bytes, const parquet::ColumnReader& at) {
  value_bytes_ += bytes;
  if (++values_ <= kMaxRowValues && value_bytes_ <= kMaxRowBytes) return;
  throw Error(ErrorCode::bad_input,
              fmt::format("{}: row {} of the file holds more than {} values or {} MiB; is the file "
                          "damaged?",
                          at.where(), next_, kMaxRowValues, kMaxRowBytes >> 20));
}

}  // namespace squint::io
