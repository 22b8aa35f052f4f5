#include "image/encode.h"

// clang-format off
#include <cstdio>
#include <jpeglib.h>
// clang-format on
#include <gif_lib.h>
#include <png.h>
#include <tiffio.h>
#include <webp/encode.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <stdexcept>

#include "support/paths.h"

namespace squint::test {
namespace {

void require(bool condition, const char* what) {
  if (!condition) throw std::runtime_error(std::string("cannot make a test file: ") + what);
}

struct PngWriter {
  png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, nullptr, nullptr, nullptr);
  png_infop info = png_create_info_struct(png);
  ~PngWriter() { png_destroy_write_struct(&png, &info); }
};

}  // namespace

Writer& Writer::u8(int value) {
  bytes_.push_back(static_cast<uint8_t>(value));
  return *this;
}
Writer& Writer::u16(uint32_t value) {
  return u8(static_cast<int>(value & 255)).u8(static_cast<int>(value >> 8 & 255));
}
Writer& Writer::u32(uint32_t value) { return u16(value & 65535).u16(value >> 16); }
Writer& Writer::text(const std::string& bytes) {
  bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
  return *this;
}
Writer& Writer::raw(const Bytes& bytes) {
  bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
  return *this;
}

Bytes encode_png(const PngSpec& spec, const Bytes& samples) {
  Bytes out;
  const PngWriter writer;
  png_structp png = writer.png;
  png_infop info = writer.info;
  png_set_write_fn(
      png, &out,
      [](png_structp p, png_bytep data, size_t count) {
        auto* to = static_cast<Bytes*>(png_get_io_ptr(p));
        to->insert(to->end(), data, data + count);
      },
      nullptr);
  png_set_IHDR(png, info, static_cast<png_uint_32>(spec.width),
               static_cast<png_uint_32>(spec.height), spec.bit_depth, spec.color_type,
               spec.interlaced ? PNG_INTERLACE_ADAM7 : PNG_INTERLACE_NONE,
               PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
  if (!spec.palette.empty()) {
    std::vector<png_color> colors;
    for (size_t i = 0; i + 2 < spec.palette.size(); i += 3) {
      colors.push_back({spec.palette[i], spec.palette[i + 1], spec.palette[i + 2]});
    }
    png_set_PLTE(png, info, colors.data(), static_cast<int>(colors.size()));
  }
  if (!spec.palette_alpha.empty()) {
    png_set_tRNS(png, info, spec.palette_alpha.data(), static_cast<int>(spec.palette_alpha.size()),
                 nullptr);
  }
  Bytes exif = exif_block(/*big_endian=*/true, spec.orientation);
  const auto set_exif = [&] {
    png_set_eXIf_1(png, info, static_cast<png_uint_32>(exif.size()), exif.data());
  };
  if (spec.orientation != 0 && !spec.orientation_last) set_exif();
  png_write_info(png, info);
  const size_t stride = png_get_rowbytes(png, info);
  std::vector<png_bytep> rows;
  for (int y = 0; y < spec.height; ++y) {
    rows.push_back(const_cast<png_bytep>(samples.data()) + static_cast<size_t>(y) * stride);
  }
  png_write_image(png, rows.data());
  if (spec.orientation != 0 && spec.orientation_last) set_exif();
  png_write_end(png, info);
  return out;
}

Bytes encode_tiff(const TiffSpec& spec, const Bytes& samples) {
  const TempDir folder;
  const std::string path = (folder.path() / "made.tiff").string();
  TIFF* tiff = TIFFOpen(path.c_str(), "wl");
  require(tiff != nullptr, "TIFF");
  TIFFSetField(tiff, TIFFTAG_IMAGEWIDTH, spec.width);
  TIFFSetField(tiff, TIFFTAG_IMAGELENGTH, spec.height);
  TIFFSetField(tiff, TIFFTAG_BITSPERSAMPLE, spec.bits);
  TIFFSetField(tiff, TIFFTAG_SAMPLESPERPIXEL, spec.channels);
  TIFFSetField(tiff, TIFFTAG_PHOTOMETRIC, spec.photometric);
  TIFFSetField(tiff, TIFFTAG_COMPRESSION, spec.compression);
  TIFFSetField(tiff, TIFFTAG_PLANARCONFIG, PLANARCONFIG_CONTIG);
  TIFFSetField(tiff, TIFFTAG_ORIENTATION, spec.orientation);
  if (spec.extra_sample >= 0) {
    const auto kind = static_cast<uint16_t>(spec.extra_sample);
    TIFFSetField(tiff, TIFFTAG_EXTRASAMPLES, 1, &kind);
  }
  const size_t stride = (size_t{spec.width} * spec.channels * spec.bits + 7) / 8;
  if (spec.tiled) {
    constexpr uint32_t kTile = 16;
    TIFFSetField(tiff, TIFFTAG_TILEWIDTH, kTile);
    TIFFSetField(tiff, TIFFTAG_TILELENGTH, kTile);
    require(spec.width <= kTile && spec.height <= kTile, "a TIFF of several tiles");
    const size_t tile_stride = size_t{kTile} * spec.channels * spec.bits / 8;
    Bytes tile(tile_stride * kTile);
    for (uint32_t y = 0; y < spec.height; ++y) {
      std::copy_n(samples.begin() + static_cast<std::ptrdiff_t>(y * stride), stride,
                  tile.begin() + static_cast<std::ptrdiff_t>(y * tile_stride));
    }
    require(TIFFWriteTile(tiff, tile.data(), 0, 0, 0, 0) > 0, "TIFF tile");
  } else {
    TIFFSetField(tiff, TIFFTAG_ROWSPERSTRIP, 2u);
    for (uint32_t y = 0; y < spec.height; ++y) {
      Bytes row(samples.begin() + static_cast<std::ptrdiff_t>(y * stride),
                samples.begin() + static_cast<std::ptrdiff_t>((y + 1) * stride));
      require(TIFFWriteScanline(tiff, row.data(), y, 0) > 0, "TIFF row");
    }
  }
  TIFFClose(tiff);
  const std::string bytes = read_text(path);
  return {bytes.begin(), bytes.end()};
}

Bytes encode_jpeg(const JpegSpec& spec, const Bytes& samples) {
  jpeg_compress_struct info{};
  jpeg_error_mgr errors{};
  info.err = jpeg_std_error(&errors);
  jpeg_create_compress(&info);
  unsigned char* data = nullptr;
  unsigned long size = 0;
  jpeg_mem_dest(&info, &data, &size);
  info.image_width = static_cast<JDIMENSION>(spec.width);
  info.image_height = static_cast<JDIMENSION>(spec.height);
  info.input_components = spec.channels;
  info.in_color_space = spec.channels == 1   ? JCS_GRAYSCALE
                        : spec.channels == 3 ? JCS_RGB
                                             : JCS_CMYK;
  jpeg_set_defaults(&info);
  jpeg_set_quality(&info, spec.quality, TRUE);
  if (spec.progressive) jpeg_simple_progression(&info);
  jpeg_start_compress(&info, TRUE);
  for (int y = 0; y < spec.height; ++y) {
    JSAMPROW row = const_cast<JSAMPROW>(samples.data()) + y * spec.width * spec.channels;
    jpeg_write_scanlines(&info, &row, 1);
  }
  jpeg_finish_compress(&info);
  jpeg_destroy_compress(&info);
  Bytes out(data, data + size);
  std::free(data);
  return out;
}

Bytes encode_gif(const GifSpec& spec, const Bytes& indices) {
  Bytes out;
  int error = 0;
  GifFileType* gif = EGifOpen(
      &out,
      [](GifFileType* file, const GifByteType* data, int count) {
        auto* to = static_cast<Bytes*>(file->UserData);
        to->insert(to->end(), data, data + count);
        return count;
      },
      &error);
  require(gif != nullptr, "GIF");
  EGifSetGifVersion(gif, true);
  std::vector<GifColorType> colors;
  for (size_t i = 0; i + 2 < spec.palette.size(); i += 3) {
    colors.push_back({spec.palette[i], spec.palette[i + 1], spec.palette[i + 2]});
  }
  ColorMapObject* map =
      colors.empty() ? nullptr : GifMakeMapObject(static_cast<int>(colors.size()), colors.data());
  EGifPutScreenDesc(gif, spec.screen_width, spec.screen_height, 8, 0,
                    spec.local_palette ? nullptr : map);
  if (spec.transparent >= 0) {
    const GraphicsControlBlock control{DISPOSAL_UNSPECIFIED, false, 0, spec.transparent};
    GifByteType block[4];
    EGifGCBToExtension(&control, block);
    EGifPutExtension(gif, GRAPHICS_EXT_FUNC_CODE, sizeof block, block);
  }
  EGifPutImageDesc(gif, spec.left, spec.top, spec.width, spec.height, spec.interlaced,
                   spec.local_palette ? map : nullptr);
  const auto put_rows = [&](int first, int step) {
    for (int y = first; y < spec.height; y += step) {
      Bytes row(indices.begin() + y * spec.width, indices.begin() + (y + 1) * spec.width);
      require(EGifPutLine(gif, row.data(), spec.width) == GIF_OK, "GIF row");
    }
  };
  if (spec.interlaced) {
    put_rows(0, 8);
    put_rows(4, 8);
    put_rows(2, 4);
    put_rows(1, 2);
  } else {
    put_rows(0, 1);
  }
  require(EGifCloseFile(gif, &error) == GIF_OK, "GIF end");
  GifFreeMapObject(map);
  return out;
}

Bytes encode_webp(int width, int height, const Bytes& rgba) {
  WebPConfig config;
  WebPPicture picture;
  require(WebPConfigInit(&config) != 0 && WebPPictureInit(&picture) != 0, "WebP");
  config.lossless = 1;
  config.exact = 1;
  picture.use_argb = 1;
  picture.width = width;
  picture.height = height;
  WebPMemoryWriter writer;
  WebPMemoryWriterInit(&writer);
  picture.writer = WebPMemoryWrite;
  picture.custom_ptr = &writer;
  require(WebPPictureImportRGBA(&picture, rgba.data(), width * 4) != 0 &&
              WebPEncode(&config, &picture) != 0,
          "WebP pixels");
  Bytes out(writer.mem, writer.mem + writer.size);
  WebPMemoryWriterClear(&writer);
  WebPPictureFree(&picture);
  return out;
}

Bytes exif_block(bool big_endian, int orientation) {
  const auto value = static_cast<uint8_t>(orientation);
  if (big_endian) {
    return {'M', 'M', 0, '*', 0, 0, 0,     8, 0, 1, 1, 0x12, 0,
            3,   0,   0, 0,   1, 0, value, 0, 0, 0, 0, 0,    0};
  }
  return {'I', 'I', '*', 0, 8, 0,     0, 0, 1, 0, 0x12, 1, 3,
          0,   1,   0,   0, 0, value, 0, 0, 0, 0, 0,    0, 0};
}

}  // namespace squint::test
