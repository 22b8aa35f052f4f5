// thrift.h: reading Thrift's compact protocol (spec ocrbench-data-hubs.md §4.2), in which Parquet
// writes its footer and page headers.
//
//     reader.read_struct([&](int id, Type type) {
//       if (id == 3) rows = reader.integer(type);
//       else reader.skip(type);
//     });
//
// Throws Error(bad_input) where bytes end early, a value has another type than asked for, or values
// are nested more than 64 deep.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace squint::io::parquet {

// Any byte source's varint: LEB128, low bits first. Advances `at`; `where` starts the error.
uint64_t read_varint(std::span<const std::byte> bytes, size_t& at, std::string_view where);

constexpr int64_t from_zigzag(uint64_t n) { return static_cast<int64_t>((n >> 1) ^ (0 - (n & 1))); }

class ThriftReader {
 public:
  enum class Type : uint8_t {
    boolean_true = 1,
    boolean_false,
    i8,
    i16,
    i32,
    i64,
    real,
    binary,
    list,
    set,
    map,
    structure,
  };

  ThriftReader(std::span<const std::byte> bytes, std::string where)
      : bytes_(bytes), where_(std::move(where)) {}

  // Calls visit(id, type) for every field; it must read or skip the value.
  template <class Visit>
  void read_struct(Visit&& visit) {
    const Nesting nesting(*this);
    int id = 0;
    Type type{};
    while (next_field(id, type)) visit(id, type);
  }
  // Calls visit(type) for every element of a list; it must read or skip the element.
  template <class Visit>
  void read_list(Type type, Visit&& visit) {
    expect(type, Type::list);
    const Nesting nesting(*this);
    Type element{};
    for (int64_t left = list_header(element); left > 0; --left) visit(element);
  }

  int64_t integer(Type type);
  int32_t int32(Type type);  // refuses what does not fit
  bool boolean(Type type) const;
  std::string_view binary(Type type);
  void skip(Type type);
  void expect(Type found, Type expected) const;

  size_t position() const { return at_; }

 private:
  struct Nesting {
    explicit Nesting(ThriftReader& reader);
    ~Nesting() { --reader_.depth_; }
    Nesting(const Nesting&) = delete;
    Nesting& operator=(const Nesting&) = delete;
    ThriftReader& reader_;
  };

  bool next_field(int& id, Type& type);
  int64_t list_header(Type& element);
  Type type_of(unsigned code) const;
  std::string_view take(uint64_t length);
  uint8_t byte() { return static_cast<uint8_t>(take(1)[0]); }
  uint64_t varint() { return read_varint(bytes_, at_, where_); }
  [[noreturn]] void fail(std::string_view what) const;

  std::span<const std::byte> bytes_;
  std::string where_;
  size_t at_ = 0;
  int depth_ = 0;
};

}  // namespace squint::io::parquet
