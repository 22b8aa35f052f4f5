#include "io/parquet/values.h"

#include <fmt/format.h>

#include <bit>
#include <cstring>

#include "io/parquet/thrift.h"
#include "squint/error.h"

namespace squint::io::parquet {
namespace {

[[noreturn]] void fail(std::string_view where, std::string_view what) {
  throw Error(ErrorCode::bad_input, fmt::format("{}: {}; is the file damaged?", where, what));
}

// `width` bits, lowest first, from bit `bit` on; they lie in `bytes`.
uint64_t bits_at(std::span<const std::byte> bytes, uint64_t bit, int width) {
  uint64_t value = 0;
  for (int got = 0; got < width;) {
    const uint64_t at = bit + static_cast<uint64_t>(got);
    const int offset = static_cast<int>(at % 8);
    const int take = std::min(8 - offset, width - got);
    const uint64_t part = (static_cast<uint64_t>(bytes[at / 8]) >> offset) & ((1u << take) - 1);
    value |= part << got;
    got += take;
  }
  return value;
}

template <class T>
T take_number(std::span<const std::byte>& bytes, std::string_view where) {
  T value;
  std::memcpy(&value, take_bytes(bytes, sizeof(T), where).data(), sizeof(T));
  return value;
}

std::string_view text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace

std::span<const std::byte> take_bytes(std::span<const std::byte>& bytes, uint64_t size,
                                      std::string_view where) {
  if (size > bytes.size()) {
    fail(where, fmt::format("a value takes {} bytes where {} are left", size, bytes.size()));
  }
  const auto taken = bytes.first(static_cast<size_t>(size));
  bytes = bytes.subspan(static_cast<size_t>(size));
  return taken;
}

uint32_t take_u32(std::span<const std::byte>& bytes, std::string_view where) {
  return take_number<uint32_t>(bytes, where);
}

HybridDecoder::HybridDecoder(std::span<const std::byte> bytes, int width, std::string_view where)
    : bytes_(bytes), where_(where), width_(width) {
  if (width < 0 || width > 32) fail(where, fmt::format("values of {} bits", width));
}

void HybridDecoder::begin_run() {
  const uint64_t head = read_varint(bytes_, at_, where_);
  packed_ = (head & 1) != 0;
  const size_t rest = bytes_.size() - at_;
  if (packed_) {
    const uint64_t groups = head >> 1;
    const auto width = static_cast<uint64_t>(width_);
    // The last group may be cut off behind the last value: next() looks at every value.
    left_ = groups > UINT64_MAX / 8 ? UINT64_MAX : groups * 8;
    bit_ = uint64_t{at_} * 8;
    at_ = width == 0 || groups <= rest / width ? at_ + groups * width : bytes_.size();
    return;
  }
  left_ = head >> 1;
  const size_t size = static_cast<size_t>(width_ + 7) / 8;
  if (size > rest) fail(where_, "a run without its value");
  value_ = static_cast<uint32_t>(bits_at(bytes_, uint64_t{at_} * 8, static_cast<int>(size) * 8));
  at_ += size;
}

uint32_t HybridDecoder::next() {
  if (width_ == 0) return 0;
  while (left_ == 0) begin_run();
  --left_;
  if (!packed_) return value_;
  const auto width = static_cast<uint64_t>(width_);
  if (bit_ + width > uint64_t{bytes_.size()} * 8) fail(where_, "packed values end early");
  const auto value = static_cast<uint32_t>(bits_at(bytes_, bit_, width_));
  bit_ += width;
  return value;
}

DeltaDecoder::DeltaDecoder(std::span<const std::byte> bytes, int bits, std::string_view where)
    : bytes_(bytes), where_(where), bits_(bits) {
  const uint64_t block = read_varint(bytes_, at_, where_);
  miniblocks_ = read_varint(bytes_, at_, where_);
  count_ = left_ = read_varint(bytes_, at_, where_);
  value_ = static_cast<uint64_t>(from_zigzag(read_varint(bytes_, at_, where_)));
  if (block == 0 || block % 128 != 0 || miniblocks_ == 0 || block % miniblocks_ != 0 ||
      block / miniblocks_ % 8 != 0) {
    fail(where_, fmt::format("delta blocks of {} values in {} parts", block, miniblocks_));
  }
  per_miniblock_ = block / miniblocks_;
  miniblock_ = miniblocks_;
}

void DeltaDecoder::begin_block() {
  min_delta_ = static_cast<uint64_t>(from_zigzag(read_varint(bytes_, at_, where_)));
  auto rest = bytes_.subspan(at_);
  widths_ = take_bytes(rest, miniblocks_, where_);
  at_ += widths_.size();
  miniblock_ = 0;
}

void DeltaDecoder::begin_miniblock() {
  if (miniblock_ == miniblocks_) begin_block();
  width_ = static_cast<int>(widths_[static_cast<size_t>(miniblock_++)]);
  const uint64_t rest = bytes_.size() - at_;
  if (width_ > 64 || (width_ > 0 && per_miniblock_ / 8 > rest / static_cast<uint64_t>(width_))) {
    fail(where_,
         fmt::format("{} deltas of {} bits where {} bytes are left", per_miniblock_, width_, rest));
  }
  bit_ = uint64_t{at_} * 8;
  left_in_miniblock_ = per_miniblock_;
  at_ += static_cast<size_t>(per_miniblock_ / 8 * static_cast<uint64_t>(width_));
}

int64_t DeltaDecoder::next() {
  if (left_ == 0) fail(where_, fmt::format("has only {} deltas", count_));
  --left_;
  if (first_) {
    first_ = false;
  } else {
    if (left_in_miniblock_ == 0) begin_miniblock();
    --left_in_miniblock_;
    value_ += min_delta_ + bits_at(bytes_, bit_, width_);
    bit_ += static_cast<uint64_t>(width_);
  }
  return bits_ == 32 ? static_cast<int32_t>(value_) : static_cast<int64_t>(value_);
}

size_t DeltaDecoder::end() const {
  DeltaDecoder walk = *this;
  walk.left_in_miniblock_ = 0;
  if (count_ <= 1) return walk.at_;
  for (uint64_t left = count_ - 1;;) {
    walk.begin_miniblock();
    if (left <= walk.per_miniblock_) return walk.at_;
    left -= walk.per_miniblock_;
  }
}

namespace {

class PlainDecoder final : public ValueDecoder {
 public:
  PlainDecoder(std::span<const std::byte> bytes, const Node& leaf, std::string_view where)
      : bytes_(bytes), type_(leaf.type), length_(leaf.type_length), where_(where) {}

  Scalar next() override {
    switch (type_) {
      case PhysicalType::boolean: {
        if (bit_ % 8 == 0) bits_ = take_number<uint8_t>(bytes_, where_);
        return {.integer = (bits_ >> (bit_++ % 8)) & 1};
      }
      case PhysicalType::int32:
        return {.integer = take_number<int32_t>(bytes_, where_)};
      case PhysicalType::int64:
        return {.integer = take_number<int64_t>(bytes_, where_)};
      case PhysicalType::float32:
        return {.real = take_number<float>(bytes_, where_)};
      case PhysicalType::float64:
        return {.real = take_number<double>(bytes_, where_)};
      case PhysicalType::byte_array: {
        const uint32_t size = take_u32(bytes_, where_);
        return {.bytes = text_of(take_bytes(bytes_, size, where_))};
      }
      case PhysicalType::fixed_byte_array:
        return {.bytes = text_of(take_bytes(bytes_, static_cast<uint64_t>(length_), where_))};
      case PhysicalType::int96:
        break;
    }
    throw Error(ErrorCode::unsupported,
                fmt::format("{}: old timestamps (INT96), which squint does not read", where_));
  }

 private:
  std::span<const std::byte> bytes_;
  PhysicalType type_;
  int64_t length_;
  std::string_view where_;
  uint32_t bits_ = 0;
  uint64_t bit_ = 0;
};

class DictionaryDecoder final : public ValueDecoder {
 public:
  DictionaryDecoder(std::span<const std::byte> bytes, std::span<const Scalar> dictionary,
                    std::string_view where)
      : dictionary_(dictionary), where_(where) {
    // A page of nulls alone may hold nothing at all.
    if (bytes.empty()) return;
    const int width = take_number<uint8_t>(bytes, where);
    indices_ = HybridDecoder(bytes, width, where);
  }

  Scalar next() override {
    const uint32_t index = indices_.next();
    if (index < dictionary_.size()) return dictionary_[index];
    fail(where_, fmt::format("entry {} of a dictionary of {}", index, dictionary_.size()));
  }

 private:
  HybridDecoder indices_;
  std::span<const Scalar> dictionary_;
  std::string_view where_;
};

class BooleanRunDecoder final : public ValueDecoder {
 public:
  BooleanRunDecoder(std::span<const std::byte> bytes, std::string_view where) {
    const uint32_t size = take_u32(bytes, where);
    runs_ = HybridDecoder(take_bytes(bytes, size, where), 1, where);
  }
  Scalar next() override { return {.integer = runs_.next()}; }

 private:
  HybridDecoder runs_;
};

class IntegerDeltaDecoder final : public ValueDecoder {
 public:
  IntegerDeltaDecoder(std::span<const std::byte> bytes, const Node& leaf, std::string_view where)
      : deltas_(bytes, leaf.type == PhysicalType::int32 ? 32 : 64, where) {}
  Scalar next() override { return {.integer = deltas_.next()}; }

 private:
  DeltaDecoder deltas_;
};

uint64_t length_from(DeltaDecoder& lengths, std::string_view where) {
  const int64_t length = lengths.next();
  if (length < 0) fail(where, fmt::format("a value of {} bytes", length));
  return static_cast<uint64_t>(length);
}

// DELTA_LENGTH_BYTE_ARRAY: all lengths, then all bytes.
class LengthDeltaDecoder final : public ValueDecoder {
 public:
  LengthDeltaDecoder(std::span<const std::byte> bytes, std::string_view where)
      : lengths_(bytes, 32, where), bytes_(bytes.subspan(lengths_.end())), where_(where) {}
  Scalar next() override {
    return {.bytes = text_of(take_bytes(bytes_, length_from(lengths_, where_), where_))};
  }

 private:
  DeltaDecoder lengths_;
  std::span<const std::byte> bytes_;
  std::string_view where_;
};

// DELTA_BYTE_ARRAY: what each value shares with the one before, then the rest of each.
class PrefixDeltaDecoder final : public ValueDecoder {
 public:
  PrefixDeltaDecoder(std::span<const std::byte> bytes, std::string_view where)
      : prefixes_(bytes, 32, where),
        suffixes_(bytes.subspan(prefixes_.end()), where),
        where_(where) {}
  Scalar next() override {
    const uint64_t shared = length_from(prefixes_, where_);
    if (shared > value_.size()) {
      fail(where_, fmt::format("a value shares {} bytes with one of {}", shared, value_.size()));
    }
    value_.resize(static_cast<size_t>(shared));
    value_ += suffixes_.next().bytes;
    return {.bytes = value_};
  }

 private:
  DeltaDecoder prefixes_;
  LengthDeltaDecoder suffixes_;
  std::string_view where_;
  std::string value_;
};

}  // namespace

std::vector<Scalar> read_dictionary(std::span<const std::byte> page, int64_t count,
                                    const Node& leaf, std::string_view where) {
  if (leaf.type == PhysicalType::boolean) fail(where, "a dictionary of truth values");
  PlainDecoder values(page, leaf, where);
  std::vector<Scalar> dictionary;
  for (int64_t i = 0; i < count; ++i) dictionary.push_back(values.next());
  return dictionary;
}

std::unique_ptr<ValueDecoder> decode_values(std::span<const std::byte> page, int encoding,
                                            const Node& leaf, std::span<const Scalar> dictionary,
                                            std::string_view where) {
  static constexpr const char* kNames[] = {"PLAIN",
                                           "1",
                                           "PLAIN_DICTIONARY",
                                           "RLE",
                                           "BIT_PACKED",
                                           "DELTA_BINARY_PACKED",
                                           "DELTA_LENGTH_BYTE_ARRAY",
                                           "DELTA_BYTE_ARRAY",
                                           "RLE_DICTIONARY",
                                           "BYTE_STREAM_SPLIT"};
  const PhysicalType type = leaf.type;
  const bool integers = type == PhysicalType::int32 || type == PhysicalType::int64;
  const bool strings = type == PhysicalType::byte_array;
  const bool any_bytes = strings || type == PhysicalType::fixed_byte_array;
  if (encoding == 0) return std::make_unique<PlainDecoder>(page, leaf, where);
  if (encoding == 2 || encoding == 8) {
    return std::make_unique<DictionaryDecoder>(page, dictionary, where);
  }
  if (encoding == 3 && type == PhysicalType::boolean) {
    return std::make_unique<BooleanRunDecoder>(page, where);
  }
  if (encoding == 5 && integers) return std::make_unique<IntegerDeltaDecoder>(page, leaf, where);
  if (encoding == 6 && strings) return std::make_unique<LengthDeltaDecoder>(page, where);
  if (encoding == 7 && any_bytes) return std::make_unique<PrefixDeltaDecoder>(page, where);
  throw Error(ErrorCode::unsupported,
              fmt::format("{}: values of type {} in encoding {}, which squint does not read; write "
                          "the file again with plain or dictionary encoding",
                          where, static_cast<int>(type),
                          encoding >= 0 && encoding < static_cast<int>(std::size(kNames))
                              ? kNames[encoding]
                              : std::to_string(encoding)));
}

}  // namespace squint::io::parquet
