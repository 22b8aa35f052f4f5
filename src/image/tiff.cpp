// tiff.cpp: the first page of a TIFF through libtiff's RGBA reader, which knows the compressions,
// tilings and colour models.
//
// Against Pillow: CMYK may differ by one level, where libtiff rounds down.
#include <tiffio.h>

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <memory>
#include <new>
#include <vector>

#include "image/bytes.h"
#include "image/codec.h"

namespace squint::image {
namespace {

struct Input {
  const Source& source;
  uint64_t at = 0;
  bool truncated = false;
  char message[256] = {};  // the first error: later ones follow from it
};

tmsize_t on_read(thandle_t handle, void* out, tmsize_t count) {
  auto* input = static_cast<Input*>(handle);
  const uint64_t size = input->source.size();
  const uint64_t left = input->at < size ? size - input->at : 0;
  const auto wanted = static_cast<uint64_t>(std::max<tmsize_t>(count, 0));
  const uint64_t got = std::min(left, wanted);
  if (got < wanted) input->truncated = true;
  if (got > 0) std::memcpy(out, input->source.data() + input->at, got);
  input->at += got;
  return static_cast<tmsize_t>(got);
}

tmsize_t on_write(thandle_t, void*, tmsize_t) { return 0; }

toff_t on_seek(thandle_t handle, toff_t offset, int whence) {
  auto* input = static_cast<Input*>(handle);
  const uint64_t base = whence == SEEK_SET   ? 0
                        : whence == SEEK_CUR ? input->at
                                             : input->source.size();
  input->at = base + offset;
  return input->at;
}

int on_close(thandle_t) { return 0; }
toff_t on_size(thandle_t handle) { return static_cast<Input*>(handle)->source.size(); }

// A memory mapping saves the library its own copies. (Without one, this version also refuses
// uncompressed tiles that are not a multiple of 1 KiB.)
int on_map(thandle_t handle, void** base, toff_t* size) {
  const Source& source = static_cast<Input*>(handle)->source;
  *base = const_cast<uint8_t*>(source.data());
  *size = source.size();
  return 1;
}
void on_unmap(thandle_t, void*, toff_t) {}

// Returning 1 keeps the library from its global handlers, which print.
int on_error(TIFF*, void* user, const char*, const char* format, va_list values) {
  auto* input = static_cast<Input*>(user);
  if (input->message[0] == '\0') {
    std::vsnprintf(input->message, sizeof input->message, format, values);
  }
  return 1;
}
int on_warning(TIFF*, void*, const char*, const char*, va_list) { return 1; }

struct Close {
  void operator()(TIFF* tiff) const { TIFFClose(tiff); }
};
using Tiff = std::unique_ptr<TIFF, Close>;

Tiff open(Input& input) {
  const std::unique_ptr<TIFFOpenOptions, decltype(&TIFFOpenOptionsFree)> options(
      TIFFOpenOptionsAlloc(), TIFFOpenOptionsFree);
  if (options == nullptr) throw std::bad_alloc();
  // One block is at most the whole image in 16-bit RGBA; a directory needs little.
  constexpr int64_t kDirectoryBytes = 1 << 20;
  TIFFOpenOptionsSetMaxSingleMemAlloc(options.get(),
                                      input.source.options->max_pixels * 8 + kDirectoryBytes);
  TIFFOpenOptionsSetErrorHandlerExtR(options.get(), on_error, &input);
  TIFFOpenOptionsSetWarningHandlerExtR(options.get(), on_warning, nullptr);
  return Tiff(TIFFClientOpenExt("", "r", &input, on_read, on_write, on_seek, on_close, on_size,
                                on_map, on_unmap, options.get()));
}

// Whether the directory or, where it could be read, any block of pixels lies beyond the end.
bool ends_early(TIFF* tiff, const Input& input) {
  const uint64_t size = input.source.size();
  const bool big_endian = input.source.data()[0] == 'M';
  if (ByteView(input.source.bytes, big_endian).u32(4).value_or(UINT32_MAX) >= size) return true;
  if (tiff == nullptr) return input.truncated;
  const uint32_t blocks =
      TIFFIsTiled(tiff) != 0 ? TIFFNumberOfTiles(tiff) : TIFFNumberOfStrips(tiff);
  for (uint32_t i = 0; i < blocks; ++i) {
    const uint64_t offset = TIFFGetStrileOffset(tiff, i);
    if (offset > size || TIFFGetStrileByteCount(tiff, i) > size - offset) return true;
  }
  return input.truncated;
}

[[noreturn]] void fail(TIFF* tiff, const Input& input) {
  if (ends_early(tiff, input)) fail_truncated(input.source);
  fail_damaged(input.source, input.message[0] != '\0' ? input.message : "no reason given");
}

uint16_t short_tag(TIFF* tiff, uint32_t tag) {
  uint16_t value = 0;
  TIFFGetFieldDefaulted(tiff, tag, &value);
  return value;
}

bool is_wide_gray(TIFF* tiff) {
  const uint16_t photometric = short_tag(tiff, TIFFTAG_PHOTOMETRIC);
  return short_tag(tiff, TIFFTAG_BITSPERSAMPLE) == 16 &&
         short_tag(tiff, TIFFTAG_SAMPLESPERPIXEL) == 1 &&
         (photometric == PHOTOMETRIC_MINISBLACK || photometric == PHOTOMETRIC_MINISWHITE);
}

// Pillow reads 16-bit grey as integers and clips them to 8 bits.
void read_wide_gray(TIFF* tiff, const Input& input, Image& image) {
  if (TIFFIsTiled(tiff) != 0) fail_variant(input.source, "a tiled TIFF in 16-bit grey");
  if (TIFFScanlineSize(tiff) < image.width * 2)
    fail_damaged(input.source, "its rows are too short");
  std::vector<uint16_t> row(static_cast<size_t>((TIFFScanlineSize(tiff) + 1) / 2));
  uint8_t* out = image.rgb.data();
  for (int64_t y = 0; y < image.height; ++y) {
    if (TIFFReadScanline(tiff, row.data(), static_cast<uint32_t>(y), 0) < 0) fail(tiff, input);
    for (int64_t x = 0; x < image.width; ++x, out += 3) {
      std::fill_n(out, 3, static_cast<uint8_t>(std::min<uint16_t>(row[x], 255)));
    }
  }
}

// Alpha reaches us as it is stored: told that it is premultiplied, the library leaves colours
// alone.
bool declare_alpha_premultiplied(TIFF* tiff) {
  uint16_t count = 0;
  uint16_t* kinds = nullptr;
  if (TIFFGetField(tiff, TIFFTAG_EXTRASAMPLES, &count, &kinds) == 0 || count == 0) return false;
  if (kinds[0] != EXTRASAMPLE_UNASSALPHA) return kinds[0] == EXTRASAMPLE_ASSOCALPHA;
  std::vector<uint16_t> declared(kinds, kinds + count);
  declared[0] = EXTRASAMPLE_ASSOCALPHA;
  TIFFSetField(tiff, TIFFTAG_EXTRASAMPLES, count, declared.data());
  return false;
}

struct Rgba {
  TIFFRGBAImage image{};
  bool begun = false;
  ~Rgba() {
    if (begun) TIFFRGBAImageEnd(&image);
  }
};

void read_rgba(TIFF* tiff, const Input& input, Image& image) {
  const bool premultiplied = declare_alpha_premultiplied(tiff);
  char message[1024] = {};
  if (TIFFRGBAImageOK(tiff, message) == 0) fail_variant(input.source, "this kind of TIFF");
  Rgba reader;
  reader.begun = TIFFRGBAImageBegin(&reader.image, tiff, /*stop=*/1, message) != 0;
  if (!reader.begun) fail(tiff, input);
  // As stored, first row first: orientation is applied for all formats in one place.
  reader.image.orientation = ORIENTATION_TOPLEFT;
  reader.image.req_orientation = ORIENTATION_TOPLEFT;
  std::vector<uint32_t> pixels(static_cast<size_t>(image.width * image.height));
  if (TIFFRGBAImageGet(&reader.image, pixels.data(), static_cast<uint32_t>(image.width),
                       static_cast<uint32_t>(image.height)) == 0) {
    fail(tiff, input);
  }
  uint8_t* rgb = image.rgb.data();
  for (const uint32_t pixel : pixels) {
    uint8_t rgba[4] = {static_cast<uint8_t>(TIFFGetR(pixel)), static_cast<uint8_t>(TIFFGetG(pixel)),
                       static_cast<uint8_t>(TIFFGetB(pixel)),
                       static_cast<uint8_t>(TIFFGetA(pixel))};
    if (premultiplied && rgba[3] != 0) {
      for (int c = 0; c < 3; ++c) {
        rgba[c] = static_cast<uint8_t>(std::min(255, 255 * rgba[c] / rgba[3]));
      }
    }
    store_rgba(rgba, input.source.options->alpha, rgb);
    rgb += 3;
  }
}

}  // namespace

Decoded decode_tiff(const Source& source) {
  Input input{source};
  const Tiff tiff = open(input);
  if (tiff == nullptr) fail(nullptr, input);
  uint32_t width = 0;
  uint32_t height = 0;
  TIFFGetField(tiff.get(), TIFFTAG_IMAGEWIDTH, &width);
  TIFFGetField(tiff.get(), TIFFTAG_IMAGELENGTH, &height);
  Decoded out;
  out.image = make_image(source, width, height);
  const uint16_t orientation = short_tag(tiff.get(), TIFFTAG_ORIENTATION);
  if (orientation >= 1 && orientation <= 8) out.orientation = orientation;
  if (is_wide_gray(tiff.get())) {
    read_wide_gray(tiff.get(), input, out.image);
  } else {
    read_rgba(tiff.get(), input, out.image);
  }
  return out;
}

}  // namespace squint::image
