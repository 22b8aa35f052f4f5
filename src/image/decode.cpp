#include "image/decode.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <new>
#include <string>
#include <utility>

#include "base/checked_math.h"
#include "image/codec.h"
#include "image/orientation.h"
#include "squint/error.h"

namespace squint::image {
namespace {

using Reader = Decoded (*)(const Source&);

struct Signature {
  std::string_view start;
  std::string_view format;
  Reader reader;
};

// "BM" alone would also match prose; looks_like_text() is asked before it.
constexpr std::array kSignatures = {
    Signature{"\xff\xd8\xff", "JPEG", decode_jpeg},
    Signature{"\x89PNG\r\n\x1a\n", "PNG", decode_png},
    Signature{"GIF87a", "GIF", decode_gif},
    Signature{"GIF89a", "GIF", decode_gif},
    Signature{{"II*\0", 4}, "TIFF", decode_tiff},
    Signature{{"MM\0*", 4}, "TIFF", decode_tiff},
    Signature{{"II+\0", 4}, "TIFF", decode_tiff},
    Signature{{"MM\0+", 4}, "TIFF", decode_tiff},
    Signature{"BM", "BMP", decode_bmp},
};

std::string_view as_text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

bool looks_like_text(std::string_view text) {
  return std::ranges::all_of(text.substr(0, 512), [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte >= 0x20 ? byte != 0x7f : byte == '\t' || byte == '\n' || byte == '\r';
  });
}

// What a file that is no image seems to be, for the message.
std::string describe(std::string_view text) {
  struct Known {
    size_t at;
    std::string_view mark;
    std::string_view what;
  };
  static constexpr std::array kKnown = {
      Known{0, "version https://git-lfs", "a Git LFS pointer; the file itself was not fetched"},
      Known{0, "%PDF", "a PDF document"},
      Known{0, "PK\x03\x04", "a ZIP archive"},
      Known{0, "\x1f\x8b", "gzip-compressed data"},
      Known{4, "ftypavif", "an AVIF image, which is not read; convert it to PNG or JPEG"},
      Known{4, "ftyphei", "a HEIC image, which is not read; convert it to PNG or JPEG"},
      Known{4, "ftypmif1", "a HEIF image, which is not read; convert it to PNG or JPEG"},
      Known{4, "ftyp", "a video file"},
  };
  for (const Known& known : kKnown) {
    if (text.size() > known.at && text.substr(known.at).starts_with(known.mark)) {
      return std::string(known.what);
    }
  }
  if (looks_like_text(text)) {
    std::string start(text.substr(0, 512));
    std::ranges::transform(start, start.begin(), [](char c) {
      return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    });
    if (start.find("<svg") != std::string::npos) {
      return "an SVG drawing, which is not read; convert it to PNG";
    }
    if (start.find("<html") != std::string::npos || start.find("<!doctype") != std::string::npos) {
      return "an HTML page; an error page saved in place of the image?";
    }
    return "plain text";
  }
  std::string hex;
  for (const char c : text.substr(0, 8)) {
    hex += fmt::format(" {:02x}", static_cast<unsigned char>(c));
  }
  return fmt::format("unknown data starting with the bytes{}", hex);
}

const Signature* find_signature(std::string_view text) {
  static constexpr Signature kWebp{"RIFF", "WebP", decode_webp};
  if (text.starts_with("RIFF") && text.size() >= 12 && text.substr(8, 4) == "WEBP") return &kWebp;
  for (const Signature& signature : kSignatures) {
    if (!text.starts_with(signature.start)) continue;
    if (signature.start == "BM" && looks_like_text(text)) continue;
    return &signature;
  }
  return nullptr;
}

}  // namespace

void fail_damaged(const Source& source, std::string_view reason) {
  throw Error(ErrorCode::bad_input,
              fmt::format("{}: damaged {}: {}", source.where, source.format, reason));
}

void fail_truncated(const Source& source) {
  throw Error(ErrorCode::bad_input,
              fmt::format("{}: truncated {}: the file ends after {} bytes, in the middle of the "
                          "image; an interrupted copy or download?",
                          source.where, source.format, source.size()));
}

void fail_variant(const Source& source, std::string_view variant) {
  throw Error(ErrorCode::bad_input,
              fmt::format("{}: {} is not read; save it as PNG or JPEG", source.where, variant));
}

void check_size(const Source& source, int64_t width, int64_t height) {
  if (width <= 0 || height <= 0) {
    fail_damaged(source, fmt::format("it claims {}x{} pixels", width, height));
  }
  const auto pixels = checked_mul(width, height);
  if (!pixels || *pixels > source.options->max_pixels) {
    throw Error(
        ErrorCode::bad_input,
        fmt::format("{}: {} of {}x{} pixels; at most {} pixels are allowed; is its header "
                    "damaged, or should it be scaled down first?",
                    source.where, source.format, width, height, source.options->max_pixels));
  }
}

Image make_image(const Source& source, int64_t width, int64_t height) {
  check_size(source, width, height);
  Image image;
  image.width = width;
  image.height = height;
  image.rgb.resize(static_cast<size_t>(width * height * 3));
  return image;
}

Image decode(std::span<const std::byte> bytes, std::string_view where,
             const DecodeOptions& options) {
  if (bytes.empty()) {
    throw Error(ErrorCode::bad_input, fmt::format("{}: expected an image, found an empty file; an "
                                                  "interrupted copy or download?",
                                                  where));
  }
  const Signature* signature = find_signature(as_text(bytes));
  if (signature == nullptr) {
    throw Error(ErrorCode::bad_input,
                fmt::format("{}: expected a JPEG, PNG, WebP, GIF, BMP or TIFF image, found {}",
                            where, describe(as_text(bytes))));
  }
  const Source source{bytes, where, signature->format, &options};
  try {
    Decoded decoded = signature->reader(source);
    if (!options.apply_orientation) return std::move(decoded.image);
    return oriented(std::move(decoded.image), decoded.orientation);
  } catch (const std::bad_alloc&) {
    throw Error(ErrorCode::out_of_memory,
                fmt::format("{}: not enough memory to decode this {}", where, source.format));
  }
}

}  // namespace squint::image
