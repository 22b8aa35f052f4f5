#include "quantize/nearest_name.h"

#include <algorithm>
#include <numeric>
#include <utility>
#include <vector>

namespace squint::quantize {

size_t edit_distance(std::string_view a, std::string_view b) {
  a = a.substr(0, 64);
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 0; i < a.size(); ++i) {
    size_t diagonal = std::exchange(row[0], i + 1);
    for (size_t j = 0; j < b.size(); ++j) {
      const size_t replaced = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, diagonal + 1, row[j] + 1});
    }
  }
  return row.back();
}

std::string nearest(std::string_view name, std::span<const std::string_view> known) {
  return std::string(*std::ranges::min_element(
      known, {}, [&](std::string_view other) { return edit_distance(name, other); }));
}

}  // namespace squint::quantize
