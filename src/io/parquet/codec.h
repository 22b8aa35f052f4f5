// codec.h: the compressions of Parquet pages: none, snappy, gzip, zstd.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string_view>

namespace squint::io::parquet {

// The bytes of a page: the file's own where it is not compressed, else held here.
class PageBytes {
 public:
  PageBytes() = default;
  explicit PageBytes(std::span<const std::byte> stored) : bytes_(stored) {}
  // Error(bad_input) where `stored` does not become exactly `size` bytes, Error(unsupported) for a
  // codec that is not read. `where` names the page.
  PageBytes(std::span<const std::byte> stored, int codec, size_t size, std::string_view where);

  std::span<const std::byte> bytes() const { return bytes_; }

 private:
  std::unique_ptr<std::byte[]> owned_;
  std::span<const std::byte> bytes_;
};

}  // namespace squint::io::parquet
