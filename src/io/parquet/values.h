// values.h: the encodings of Parquet pages, read one value at a time (spec
// ocrbench-data-hubs.md §4.4). A run that claims a billion values costs no memory.
//
// All of them throw Error(bad_input) where the page ends early or contradicts itself; `where` names
// the page in the message and must outlive the decoder, as must the page's bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/parquet/footer.h"

namespace squint::io::parquet {

// The member that belongs to the column's type. Bytes last until the next value is read.
struct Scalar {
  int64_t integer = 0;  // boolean, int32, int64
  double real = 0;      // float32, float64
  std::string_view bytes;
};

// Runs of equal and of bit-packed small integers: levels, indices, booleans.
class HybridDecoder {
 public:
  HybridDecoder() = default;  // reads zeros without end
  // width: bits of a value, 0 to 32.
  HybridDecoder(std::span<const std::byte> bytes, int width, std::string_view where);

  uint32_t next();

 private:
  void begin_run();

  std::span<const std::byte> bytes_;
  std::string_view where_;
  int width_ = 0;
  size_t at_ = 0;
  uint64_t left_ = 0;  // values of this run
  bool packed_ = false;
  uint32_t value_ = 0;  // of a run of equal values
  uint64_t bit_ = 0;    // of a packed run: where in the bytes it goes on
};

// DELTA_BINARY_PACKED.
class DeltaDecoder {
 public:
  DeltaDecoder() = default;
  // bits: 32 or 64, at which sums wrap.
  DeltaDecoder(std::span<const std::byte> bytes, int bits, std::string_view where);

  int64_t next();
  uint64_t count() const { return count_; }
  // Bytes from the start to behind the last value.
  size_t end() const;

 private:
  void begin_block();
  void begin_miniblock();

  std::span<const std::byte> bytes_;
  std::string_view where_;
  int bits_ = 64;
  size_t at_ = 0;
  uint64_t miniblocks_ = 1;  // of a block
  uint64_t per_miniblock_ = 0;
  uint64_t count_ = 0;
  uint64_t left_ = 0;  // values not yet returned
  bool first_ = true;
  uint64_t value_ = 0;
  uint64_t min_delta_ = 0;
  std::span<const std::byte> widths_;
  uint64_t miniblock_ = 0;          // next of the block
  uint64_t left_in_miniblock_ = 0;  // values
  uint64_t bit_ = 0;
  int width_ = 0;
};

class ValueDecoder {
 public:
  virtual ~ValueDecoder() = default;
  virtual Scalar next() = 0;
};

// The values of a dictionary page, which point into `page`.
std::vector<Scalar> read_dictionary(std::span<const std::byte> page, int64_t count,
                                    const Node& leaf, std::string_view where);

// `encoding` as numbered in the format; Error(unsupported) names one that is not read. `dictionary`
// is empty where the column has none.
std::unique_ptr<ValueDecoder> decode_values(std::span<const std::byte> page, int encoding,
                                            const Node& leaf, std::span<const Scalar> dictionary,
                                            std::string_view where);

// The next bytes of a page as a little-endian number, advancing over them.
uint32_t take_u32(std::span<const std::byte>& bytes, std::string_view where);
// The next `size` bytes, advancing over them.
std::span<const std::byte> take_bytes(std::span<const std::byte>& bytes, uint64_t size,
                                      std::string_view where);

}  // namespace squint::io::parquet
