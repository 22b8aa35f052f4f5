// Any bytes as a Parquet file: the first rows of all its columns, then one further on.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "io/parquet.h"
#include "squint/error.h"

namespace {

void use(std::span<const std::byte> bytes) {
  const squint::io::ParquetFile file(bytes, "fuzz");
  const std::vector<std::string> names = file.columns();
  const std::vector<std::string_view> columns(names.begin(), names.end());
  squint::io::ParquetRows rows(file, columns);
  for (int64_t row = 0; row < std::min<int64_t>(file.rows(), 8); ++row) rows.read(row);
  if (file.rows() > 12) rows.read(12);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    use(std::as_bytes(std::span(data, size)));
  } catch (const squint::Error&) {
    // What bytes from outside may cause; anything else is a finding.
  }
  return 0;
}
