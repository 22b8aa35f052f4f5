#include "image_size.h"

#include <charconv>
#include <optional>

namespace squint::cli {
namespace {

std::optional<ImageSize> parse(const std::string& text) {
  ImageSize size;
  const char* end = text.data() + text.size();
  const auto width = std::from_chars(text.data(), end, size.width);
  if (width.ec != std::errc() || width.ptr == end || (*width.ptr != 'x' && *width.ptr != 'X')) {
    return std::nullopt;
  }
  const auto height = std::from_chars(width.ptr + 1, end, size.height);
  if (height.ec != std::errc() || height.ptr != end) return std::nullopt;
  if (size.width < 0 || size.height < 0) return std::nullopt;
  return size;
}

}  // namespace

std::string refuse_size(const std::string& text) {
  return parse(text) ? "" : "expected WIDTHxHEIGHT in pixels, as 1024x768, found " + text;
}

ImageSize size_of(const std::string& text) { return parse(text).value_or(ImageSize{}); }

}  // namespace squint::cli
