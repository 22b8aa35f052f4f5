#include "io/parquet/thrift.h"

#include <fmt/format.h>

#include "squint/error.h"

namespace squint::io::parquet {
namespace {

constexpr int kMaxDepth = 64;

}  // namespace

uint64_t read_varint(std::span<const std::byte> bytes, size_t& at, std::string_view where) {
  uint64_t value = 0;
  for (int shift = 0; shift < 64; shift += 7) {
    if (at >= bytes.size()) break;
    const auto byte = static_cast<uint8_t>(bytes[at++]);
    value |= static_cast<uint64_t>(byte & 0x7f) << shift;
    if (byte < 0x80) return value;
  }
  throw Error(ErrorCode::bad_input, fmt::format("{}: a number at byte {} of {} does not end; is "
                                                "the file damaged?",
                                                where, at, bytes.size()));
}

ThriftReader::Nesting::Nesting(ThriftReader& reader) : reader_(reader) {
  if (reader.depth_ == kMaxDepth) reader.fail("values are nested too deep");
  ++reader.depth_;
}

bool ThriftReader::next_field(int& id, Type& type) {
  const unsigned head = byte();
  if (head == 0) return false;
  const unsigned delta = head >> 4;
  const int64_t next = delta == 0 ? from_zigzag(varint()) : id + static_cast<int64_t>(delta);
  if (next < INT16_MIN || next > INT16_MAX) fail("a field has an impossible number");
  id = static_cast<int>(next);
  type = type_of(head & 15);
  return true;
}

int64_t ThriftReader::list_header(Type& element) {
  const unsigned head = byte();
  const uint64_t size = head >> 4 == 15 ? varint() : head >> 4;
  // Every element takes a byte at least.
  if (size > bytes_.size() - at_) fail("a list is longer than the bytes that are left");
  element = type_of(head & 15);
  return static_cast<int64_t>(size);
}

ThriftReader::Type ThriftReader::type_of(unsigned code) const {
  if (code < 1 || code > 12) fail(fmt::format("there is no type {}", code));
  return static_cast<Type>(code);
}

std::string_view ThriftReader::take(uint64_t length) {
  if (length > bytes_.size() - at_) fail("the bytes end inside a value");
  const std::string_view taken(reinterpret_cast<const char*>(bytes_.data()) + at_,
                               static_cast<size_t>(length));
  at_ += taken.size();
  return taken;
}

int64_t ThriftReader::integer(Type type) {
  if (type == Type::i8) return static_cast<int8_t>(byte());
  if (type != Type::i16 && type != Type::i32) expect(type, Type::i64);
  return from_zigzag(varint());
}

int32_t ThriftReader::int32(Type type) {
  const int64_t value = integer(type);
  if (value < INT32_MIN || value > INT32_MAX) fail(fmt::format("{} is out of range", value));
  return static_cast<int32_t>(value);
}

bool ThriftReader::boolean(Type type) const {
  if (type != Type::boolean_false) expect(type, Type::boolean_true);
  return type == Type::boolean_true;
}

std::string_view ThriftReader::binary(Type type) {
  expect(type, Type::binary);
  return take(varint());
}

void ThriftReader::skip(Type type) {
  // Elements that are booleans take a byte, fields that are none.
  const auto skip_element = [this](Type t) {
    t == Type::boolean_true || t == Type::boolean_false ? void(byte()) : skip(t);
  };
  switch (type) {
    case Type::boolean_true:
    case Type::boolean_false:
      return;
    case Type::real:
      take(8);
      return;
    case Type::binary:
      take(varint());
      return;
    case Type::list:
    case Type::set:
      read_list(Type::list, skip_element);
      return;
    case Type::map: {
      const Nesting nesting(*this);
      uint64_t left = varint();
      if (left > bytes_.size() - at_) fail("a map is longer than the bytes that are left");
      if (left == 0) return;
      const unsigned types = byte();
      for (; left > 0; --left) {
        skip_element(type_of(types >> 4));
        skip_element(type_of(types & 15));
      }
      return;
    }
    case Type::structure:
      read_struct([this](int, Type t) { skip(t); });
      return;
    default:
      integer(type);
  }
}

void ThriftReader::expect(Type found, Type expected) const {
  if (found == expected) return;
  fail(fmt::format("expected a value of type {}, found {}", static_cast<int>(expected),
                   static_cast<int>(found)));
}

void ThriftReader::fail(std::string_view what) const {
  throw Error(ErrorCode::bad_input,
              fmt::format("{}: {}, at byte {} of {}; is the file damaged or incomplete?", where_,
                          what, at_, bytes_.size()));
}

}  // namespace squint::io::parquet
