// bytes.h: integers at offsets of a file that may be shorter than it claims.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace squint::image {

class ByteView {
 public:
  ByteView(std::span<const std::byte> bytes, bool big_endian)
      : bytes_(bytes), big_endian_(big_endian) {}

  // The unsigned integer at byte `at`, or nothing where it leaves the bytes.
  std::optional<uint32_t> u16(uint64_t at) const { return read(at, 2); }
  std::optional<uint32_t> u32(uint64_t at) const { return read(at, 4); }

 private:
  std::optional<uint32_t> read(uint64_t at, uint64_t count) const {
    if (at > bytes_.size() || bytes_.size() - at < count) return std::nullopt;
    uint32_t value = 0;
    for (uint64_t i = 0; i < count; ++i) {
      const uint64_t from = at + (big_endian_ ? i : count - 1 - i);
      value = value << 8 | std::to_integer<uint32_t>(bytes_[from]);
    }
    return value;
  }

  std::span<const std::byte> bytes_;
  bool big_endian_;
};

}  // namespace squint::image
