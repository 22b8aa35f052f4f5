#include "io/parquet/codec.h"

#include <fmt/format.h>
#include <snappy.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <string>

#include "squint/error.h"

namespace squint::io::parquet {
namespace {

bool unsnap(std::span<const std::byte> in, std::span<std::byte> out) {
  const auto* data = reinterpret_cast<const char*>(in.data());
  size_t size = 0;
  return snappy::GetUncompressedLength(data, in.size(), &size) && size == out.size() &&
         snappy::RawUncompress(data, in.size(), reinterpret_cast<char*>(out.data()));
}

// A page may hold several gzip members, one after the other.
bool gunzip(std::span<const std::byte> in, std::span<std::byte> out) {
  constexpr int kGzipWindow = 15 + 16;
  z_stream stream{};
  if (inflateInit2(&stream, kGzipWindow) != Z_OK) return false;
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(in.data()));
  stream.avail_in = static_cast<uInt>(in.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  int result = Z_STREAM_END;
  while (result == Z_STREAM_END && stream.avail_in > 0) {
    result = inflate(&stream, Z_FINISH);
    if (result == Z_STREAM_END && stream.avail_in > 0) inflateReset(&stream);
  }
  inflateEnd(&stream);
  return result == Z_STREAM_END && stream.avail_out == 0;
}

bool unzstd(std::span<const std::byte> in, std::span<std::byte> out) {
  return ZSTD_decompress(out.data(), out.size(), in.data(), in.size()) == out.size();
}

struct Codec {
  int number;
  const char* name;
  bool (*decompress)(std::span<const std::byte>, std::span<std::byte>);  // none: not read
};

constexpr Codec kCodecs[] = {
    {1, "snappy", unsnap}, {2, "gzip", gunzip}, {3, "LZO", nullptr}, {4, "brotli", nullptr},
    {5, "LZ4", nullptr},   {6, "zstd", unzstd}, {7, "LZ4", nullptr},
};

}  // namespace

PageBytes::PageBytes(std::span<const std::byte> stored, int codec, size_t size,
                     std::string_view where)
    : bytes_(stored) {
  if (codec != 0 && size == 0) {
    bytes_ = {};  // Nothing, compressed, may still be some bytes, or none.
    return;
  }
  if (codec != 0) {
    const auto* found = std::ranges::find(kCodecs, codec, &Codec::number);
    if (found == std::end(kCodecs) || found->decompress == nullptr) {
      throw Error(ErrorCode::unsupported,
                  fmt::format("{}: compressed with {}; squint reads snappy, gzip, zstd and "
                              "uncompressed pages: write the file again with one of them",
                              where,
                              found == std::end(kCodecs) ? fmt::format("codec {}", codec)
                                                         : std::string(found->name)));
    }
    // Not zeroed: a size that lies costs address space, no memory.
    owned_ = std::make_unique_for_overwrite<std::byte[]>(size);
    if (!found->decompress(stored, {owned_.get(), size})) {
      throw Error(ErrorCode::bad_input,
                  fmt::format("{}: {} bytes of {} do not become the {} that are claimed; is the "
                              "file damaged?",
                              where, stored.size(), found->name, size));
    }
    bytes_ = {owned_.get(), size};
  } else if (stored.size() != size) {
    throw Error(ErrorCode::bad_input,
                fmt::format("{}: {} bytes where {} are claimed; is the file damaged?", where,
                            stored.size(), size));
  }
}

}  // namespace squint::io::parquet
