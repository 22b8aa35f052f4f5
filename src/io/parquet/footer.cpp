#include "io/parquet/footer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <optional>

#include "base/checked_math.h"
#include "io/parquet/thrift.h"
#include "squint/error.h"

namespace squint::io::parquet {
namespace {

using Type = ThriftReader::Type;

constexpr int64_t kMagicBytes = 4;
constexpr int64_t kTailBytes = 8;  // length of the metadata, magic
constexpr int64_t kMaxMetadataBytes = int64_t{256} << 20;
constexpr int kMaxDepth = 32;

[[noreturn]] void fail(std::string_view where, std::string_view what) {
  throw Error(ErrorCode::bad_input, fmt::format("{}: {}", where, what));
}

// One line of the schema, which is a tree walked depth first.
struct SchemaElement {
  std::optional<int> type;
  int64_t type_length = 0;
  int repetition = 0;  // 0 required, 1 optional, 2 repeated
  std::string name;
  int64_t children = 0;
  bool is_list = false;
  bool is_map = false;
  bool is_text = false;
};

SchemaElement read_schema_element(ThriftReader& reader) {
  SchemaElement e;
  reader.read_struct([&](int id, Type type) {
    switch (id) {
      case 1:
        e.type = reader.int32(type);
        break;
      case 2:
        e.type_length = reader.int32(type);
        break;
      case 3:
        e.repetition = reader.int32(type);
        break;
      case 4:
        e.name = reader.binary(type);
        break;
      case 5:
        e.children = reader.int32(type);
        break;
      case 6: {
        const int converted = reader.int32(type);
        e.is_text = e.is_text || converted == 0;
        e.is_map = e.is_map || converted == 1 || converted == 2;
        e.is_list = e.is_list || converted == 3;
        break;
      }
      case 10:  // The union of logical types: the field's number is the type.
        reader.expect(type, Type::structure);
        reader.read_struct([&](int logical, Type t) {
          e.is_text = e.is_text || logical == 1;
          e.is_map = e.is_map || logical == 2;
          e.is_list = e.is_list || logical == 3;
          reader.skip(t);
        });
        break;
      default:
        reader.skip(type);
    }
  });
  return e;
}

class SchemaBuilder {
 public:
  SchemaBuilder(std::vector<SchemaElement> elements, std::string_view where)
      : elements_(std::move(elements)), where_(where) {}

  Node build() {
    if (elements_.empty()) fail(where_, "the schema is empty");
    elements_[0].repetition = 0;
    Node root = node(Node(), 0);
    if (next_ != elements_.size()) fail(where_, "the schema holds more than its root says");
    if (root.is_leaf()) fail(where_, "the schema has no columns");
    return root;
  }

 private:
  Node node(const Node& parent, int depth) {
    if (next_ == elements_.size()) fail(where_, "the schema ends early");
    if (depth > kMaxDepth) fail(where_, fmt::format("columns nest deeper than {}", kMaxDepth));
    const SchemaElement& e = elements_[next_++];
    Node out{.name = e.name,
             .optional = e.repetition == 1,
             .repeated = e.repetition == 2,
             .max_def = parent.max_def + (e.repetition == 0 ? 0 : 1),
             .max_rep = parent.max_rep + (e.repetition == 2 ? 1 : 0)};
    if (e.type) {
      become_leaf(e, out);
      return out;
    }
    if (e.children <= 0) fail(where_, fmt::format("group \"{}\" has no fields", e.name));
    for (int64_t i = 0; i < e.children; ++i) out.children.push_back(node(out, depth + 1));
    fold(e, out);
    return out;
  }

  void become_leaf(const SchemaElement& e, Node& out) {
    if (*e.type < 0 || *e.type > 7) {
      fail(where_, fmt::format("column \"{}\" has the unknown type {}", e.name, *e.type));
    }
    out.leaf = leaves_++;
    out.type = static_cast<PhysicalType>(*e.type);
    out.type_length = e.type_length;
    out.is_text = e.is_text;
    if (out.type == PhysicalType::fixed_byte_array && out.type_length <= 0) {
      fail(where_, fmt::format("column \"{}\" has values of {} bytes", e.name, out.type_length));
    }
  }

  // The rules for lists of older writers (§4.3).
  static void fold(const SchemaElement& e, Node& out) {
    if (out.children.size() != 1 || !out.children[0].repeated) return;
    out.wraps = (e.is_list || e.is_map) && !out.repeated;
    Node& middle = out.children[0];
    middle.wraps = e.is_list && middle.children.size() == 1 && !middle.children[0].repeated &&
                   middle.name != "array" && middle.name != out.name + "_tuple";
  }

  std::vector<SchemaElement> elements_;
  std::string_view where_;
  size_t next_ = 0;
  int leaves_ = 0;
};

void collect_leaves(const Node& node, std::vector<const Node*>& leaves) {
  if (node.is_leaf()) leaves.push_back(&node);
  for (const Node& child : node.children) collect_leaves(child, leaves);
}

class FooterReader {
 public:
  // `end` is where the data must end.
  FooterReader(std::span<const std::byte> metadata, int64_t end, std::string_view where)
      : reader_(metadata, fmt::format("{}: metadata", where)), end_(end), where_(where) {}

  Footer read() {
    std::vector<SchemaElement> schema;
    Footer footer;
    reader_.read_struct([&](int id, Type type) {
      switch (id) {
        case 2:
          reader_.read_list(type, [&](Type t) {
            reader_.expect(t, Type::structure);
            schema.push_back(read_schema_element(reader_));
          });
          break;
        case 4:
          reader_.read_list(type, [&](Type t) {
            reader_.expect(t, Type::structure);
            footer.groups.push_back(row_group());
          });
          break;
        case 8:
          throw Error(ErrorCode::unsupported,
                      fmt::format("{}: the file is encrypted, which squint does not read", where_));
        default:
          reader_.skip(type);
      }
    });
    footer.root = SchemaBuilder(std::move(schema), where_).build();
    check(footer);
    return footer;
  }

 private:
  RowGroup row_group() {
    RowGroup group;
    reader_.read_struct([&](int id, Type type) {
      if (id == 1) {
        reader_.read_list(type, [&](Type t) {
          reader_.expect(t, Type::structure);
          group.columns.push_back(column_chunk());
        });
      } else if (id == 3) {
        group.rows = reader_.integer(type);
      } else {
        reader_.skip(type);
      }
    });
    return group;
  }

  ColumnChunk column_chunk() {
    std::optional<ColumnChunk> chunk;
    reader_.read_struct([&](int id, Type type) {
      if (id == 1) {
        throw Error(ErrorCode::unsupported,
                    fmt::format("{}: columns are kept in another file, \"{}\", which squint does "
                                "not read",
                                where_, reader_.binary(type)));
      }
      if (id == 3) {
        reader_.expect(type, Type::structure);
        chunk = column_metadata();
      } else {
        reader_.skip(type);
      }
    });
    if (!chunk) {
      throw Error(ErrorCode::unsupported,
                  fmt::format("{}: a column has no metadata; is it encrypted?", where_));
    }
    return *chunk;
  }

  ColumnChunk column_metadata() {
    ColumnChunk chunk;
    int type_code = -1;
    int64_t data = 0;
    int64_t dictionary = 0;
    reader_.read_struct([&](int id, Type type) {
      switch (id) {
        case 1:
          type_code = reader_.int32(type);
          break;
        case 4:
          chunk.codec = reader_.int32(type);
          break;
        case 5:
          chunk.num_values = reader_.integer(type);
          break;
        case 7:
          chunk.bytes = reader_.integer(type);
          break;
        case 9:
          data = reader_.integer(type);
          break;
        case 11:
          dictionary = reader_.integer(type);
          break;
        default:
          reader_.skip(type);
      }
    });
    if (type_code < 0 || type_code > 7) {
      fail(where_, fmt::format("a column has the unknown type {}", type_code));
    }
    chunk.type = static_cast<PhysicalType>(type_code);
    // Some writers say 0 where there is no dictionary.
    chunk.begin = dictionary > 0 ? std::min(dictionary, data) : data;
    return chunk;
  }

  void check(Footer& footer) const {
    std::vector<const Node*> leaves;
    collect_leaves(footer.root, leaves);
    for (size_t g = 0; g < footer.groups.size(); ++g) {
      const RowGroup& group = footer.groups[g];
      const std::optional<int64_t> rows = checked_add(footer.rows, group.rows);
      if (!rows) fail(where_, fmt::format("row group {} claims {} rows", g, group.rows));
      footer.rows = *rows;
      if (group.columns.size() != leaves.size()) {
        fail(where_, fmt::format("row group {} has {} columns, the schema {}", g,
                                 group.columns.size(), leaves.size()));
      }
      for (size_t i = 0; i < leaves.size(); ++i) {
        const ColumnChunk& chunk = group.columns[i];
        const auto refuse = [&](const std::string& what) {
          fail(where_, fmt::format("row group {}, column \"{}\": {}", g, leaves[i]->name, what));
        };
        if (chunk.type != leaves[i]->type) refuse("its type is not the schema's");
        const std::optional<int64_t> end = checked_add(chunk.begin, chunk.bytes);
        if (!end || chunk.begin < kMagicBytes || *end > end_ || chunk.num_values < 0) {
          refuse(
              fmt::format("claims {} values in {} bytes from byte {}, but data ends at byte {}; "
                          "interrupted copy or download?",
                          chunk.num_values, chunk.bytes, chunk.begin, end_));
        }
      }
    }
  }

  ThriftReader reader_;
  int64_t end_;
  std::string_view where_;
};

}  // namespace

Footer read_footer(std::span<const std::byte> file, std::string_view where) {
  const auto size = static_cast<int64_t>(file.size());
  const std::string_view text(reinterpret_cast<const char*>(file.data()), file.size());
  if (text.ends_with("PARE")) {
    throw Error(ErrorCode::unsupported,
                fmt::format("{}: the file is encrypted, which squint does not read", where));
  }
  if (size < kMagicBytes + kTailBytes || !text.starts_with("PAR1") || !text.ends_with("PAR1")) {
    fail(where,
         fmt::format("expected a Parquet file, which begins and ends with \"PAR1\"; {} of "
                     "{} bytes; interrupted copy or download?",
                     text.starts_with("PAR1") ? "this one ends early, a file" : "a file", size));
  }
  uint32_t length = 0;
  std::memcpy(&length, file.data() + size - kTailBytes, sizeof(length));
  const int64_t end = size - kTailBytes - int64_t{length};
  if (end < kMagicBytes || length > kMaxMetadataBytes) {
    fail(where,
         fmt::format("claims {} bytes of metadata in a file of {}; is it damaged?", length, size));
  }
  return FooterReader(file.subspan(static_cast<size_t>(end), length), end, where).read();
}

}  // namespace squint::io::parquet
