#include "io/parquet/column.h"

#include <fmt/format.h>
#include <zlib.h>

#include <bit>
#include <optional>

#include "io/parquet/thrift.h"
#include "squint/error.h"

namespace squint::io::parquet {

using Type = ThriftReader::Type;

struct ColumnReader::PageHeader {
  int type = -1;  // 0 data, 1 index, 2 dictionary, 3 data of version 2
  int64_t size = 0;
  int64_t stored_size = 0;
  std::optional<uint32_t> crc;
  // Of whichever kind of header is there:
  int64_t num_values = 0;
  int encoding = 0;
  int def_encoding = 0;
  int rep_encoding = 0;
  int64_t def_bytes = 0;
  int64_t rep_bytes = 0;
  bool compressed = true;

  static PageHeader read(ThriftReader& reader);

 private:
  void read_data(ThriftReader& reader);
  void read_data_v2(ThriftReader& reader);
};

// Data and dictionary pages.
void ColumnReader::PageHeader::read_data(ThriftReader& reader) {
  reader.read_struct([&](int id, Type t) {
    switch (id) {
      case 1:
        num_values = reader.int32(t);
        break;
      case 2:
        encoding = reader.int32(t);
        break;
      case 3:
        if (type == 0) {
          def_encoding = reader.int32(t);
          break;
        }
        reader.skip(t);  // A dictionary's is_sorted.
        break;
      case 4:
        rep_encoding = reader.int32(t);
        break;
      default:
        reader.skip(t);
    }
  });
}

void ColumnReader::PageHeader::read_data_v2(ThriftReader& reader) {
  reader.read_struct([&](int id, Type t) {
    switch (id) {
      case 1:
        num_values = reader.int32(t);
        break;
      case 4:
        encoding = reader.int32(t);
        break;
      case 5:
        def_bytes = reader.int32(t);
        break;
      case 6:
        rep_bytes = reader.int32(t);
        break;
      case 7:
        compressed = reader.boolean(t);
        break;
      default:
        reader.skip(t);
    }
  });
}

ColumnReader::PageHeader ColumnReader::PageHeader::read(ThriftReader& reader) {
  PageHeader h;
  reader.read_struct([&](int id, Type t) {
    switch (id) {
      case 1:
        h.type = reader.int32(t);
        break;
      case 2:
        h.size = reader.int32(t);
        break;
      case 3:
        h.stored_size = reader.int32(t);
        break;
      case 4:
        h.crc = static_cast<uint32_t>(reader.int32(t));
        break;
      case 5:
      case 7:
        reader.expect(t, Type::structure);
        h.read_data(reader);
        break;
      case 8:
        reader.expect(t, Type::structure);
        h.read_data_v2(reader);
        break;
      default:
        reader.skip(t);
    }
  });
  return h;
}

namespace {

// Bits that levels up to `max` are stored in.
int level_width(int max) { return static_cast<int>(std::bit_width(static_cast<unsigned>(max))); }

}  // namespace

ColumnReader::ColumnReader(std::span<const std::byte> file, const Node& leaf,
                           const ColumnChunk& chunk, std::string where)
    : leaf_(leaf),
      where_(std::move(where)),
      codec_(chunk.codec),
      pages_(file.subspan(static_cast<size_t>(chunk.begin), static_cast<size_t>(chunk.bytes))),
      left_(chunk.num_values) {
  advance();
}

void ColumnReader::advance() {
  while (left_in_page_ == 0) {
    if (!next_page()) {
      at_end_ = true;
      return;
    }
  }
  --left_in_page_;
  rep_ = static_cast<int>(reps_.next());
  def_ = static_cast<int>(defs_.next());
  if (rep_ > leaf_.max_rep || def_ > leaf_.max_def) {
    fail(fmt::format("levels {} and {} where {} and {} are the greatest; is the file damaged?",
                     rep_, def_, leaf_.max_rep, leaf_.max_def));
  }
  if (def_ < leaf_.max_def) return;
  if (!decoder_) decoder_ = decode_values(values_, encoding_, leaf_, dictionary_, where_);
  value_ = decoder_->next();
}

bool ColumnReader::next_page() {
  if (left_ == 0) return false;
  if (pages_.empty()) fail(fmt::format("the pages end {} values early", left_));
  ThriftReader reader(pages_, where_ + ": page header");
  const PageHeader header = PageHeader::read(reader);
  pages_ = pages_.subspan(reader.position());
  if (header.size < 0 || header.stored_size < 0 || header.num_values < 0) {
    fail("a page of a negative size; is the file damaged?");
  }
  const auto stored = take_bytes(pages_, static_cast<uint64_t>(header.stored_size), where_);
  if (header.crc &&
      crc32_z(0, reinterpret_cast<const Bytef*>(stored.data()), stored.size()) != *header.crc) {
    fail("a page has not the checksum that it should have; is the file damaged?");
  }
  switch (header.type) {
    case 0:
      load_data(header, stored);
      break;
    case 1:
      return true;  // An index, which nobody needs.
    case 2:
      load_dictionary(header, stored);
      return true;
    case 3:
      load_data_v2(header, stored);
      break;
    default:
      throw Error(ErrorCode::unsupported,
                  fmt::format("{}: a page of the unknown kind {}", where_, header.type));
  }
  if (header.num_values > left_) {
    fail(fmt::format("a page of {} values where {} are left", header.num_values, left_));
  }
  left_ -= header.num_values;
  left_in_page_ = header.num_values;
  encoding_ = header.encoding;
  decoder_.reset();
  return true;
}

void ColumnReader::load_dictionary(const PageHeader& header, std::span<const std::byte> stored) {
  // Entries point into the page: both go together.
  decoder_.reset();
  PageBytes page(stored, codec_, static_cast<size_t>(header.size), where_);
  dictionary_ = read_dictionary(page.bytes(), header.num_values, leaf_, where_);
  dictionary_page_ = std::move(page);
}

HybridDecoder ColumnReader::levels(std::span<const std::byte>& page, int max, int encoding) const {
  if (max == 0) return {};
  if (encoding != 3) {
    throw Error(ErrorCode::unsupported,
                fmt::format("{}: levels in the old encoding {}, which squint does not read", where_,
                            encoding == 4 ? "BIT_PACKED" : std::to_string(encoding)));
  }
  const uint32_t size = take_u32(page, where_);
  return {take_bytes(page, size, where_), level_width(max), where_};
}

void ColumnReader::load_data(const PageHeader& header, std::span<const std::byte> stored) {
  page_ = PageBytes(stored, codec_, static_cast<size_t>(header.size), where_);
  values_ = page_.bytes();
  reps_ = levels(values_, leaf_.max_rep, header.rep_encoding);
  defs_ = levels(values_, leaf_.max_def, header.def_encoding);
}

void ColumnReader::load_data_v2(const PageHeader& header, std::span<const std::byte> stored) {
  if (header.rep_bytes < 0 || header.def_bytes < 0 ||
      header.rep_bytes + header.def_bytes > header.size) {
    fail(fmt::format("levels of {} and {} bytes in a page of {}", header.rep_bytes,
                     header.def_bytes, header.size));
  }
  const auto part = [&](int64_t size, int max) {
    const auto bytes = take_bytes(stored, static_cast<uint64_t>(size), where_);
    if (max == 0) return HybridDecoder();
    return HybridDecoder(bytes, level_width(max), where_);
  };
  reps_ = part(header.rep_bytes, leaf_.max_rep);
  defs_ = part(header.def_bytes, leaf_.max_def);
  const auto size = static_cast<size_t>(header.size - header.rep_bytes - header.def_bytes);
  page_ = PageBytes(stored, header.compressed ? codec_ : 0, size, where_);
  values_ = page_.bytes();
}

int ColumnReader::checked(int level) const {
  if (at_end_) fail("the column ends before its rows do; is the file damaged?");
  return level;
}

void ColumnReader::fail(const std::string& what) const {
  throw Error(ErrorCode::bad_input, fmt::format("{}: {}", where_, what));
}

}  // namespace squint::io::parquet
