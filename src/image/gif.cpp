// gif.cpp: the first frame of a GIF through giflib, which yields palette indices: the colour that a
// transparent pixel is stored with survives, as parity with Pillow needs.
#include <gif_lib.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <span>
#include <vector>

#include "image/codec.h"

namespace squint::image {
namespace {

struct Input {
  const Source& source;
  size_t at = 0;
};

int on_read(GifFileType* gif, GifByteType* out, int count) {
  auto* input = static_cast<Input*>(gif->UserData);
  const size_t got =
      std::min(static_cast<size_t>(std::max(count, 0)), input->source.size() - input->at);
  std::memcpy(out, input->source.data() + input->at, got);
  input->at += got;
  return static_cast<int>(got);
}

struct Close {
  void operator()(GifFileType* gif) const { DGifCloseFile(gif, nullptr); }
};
using Gif = std::unique_ptr<GifFileType, Close>;

[[noreturn]] void fail(const Source& source, int error) {
  if (error == D_GIF_ERR_READ_FAILED || error == D_GIF_ERR_EOF_TOO_SOON) fail_truncated(source);
  const char* reason = GifErrorString(error);
  fail_damaged(source, reason != nullptr ? reason : "unknown error");
}

// Leaves the file at the first frame's pixels; returns the transparent index, or -1.
int find_first_frame(GifFileType* gif, const Source& source) {
  int transparent = NO_TRANSPARENT_COLOR;
  for (;;) {
    GifRecordType record = UNDEFINED_RECORD_TYPE;
    if (DGifGetRecordType(gif, &record) == GIF_ERROR) fail(source, gif->Error);
    if (record == IMAGE_DESC_RECORD_TYPE) {
      if (DGifGetImageDesc(gif) == GIF_ERROR) fail(source, gif->Error);
      return transparent;
    }
    if (record != EXTENSION_RECORD_TYPE) fail_damaged(source, "it has no frame");
    int code = 0;
    GifByteType* block = nullptr;  // its length, then that many bytes
    if (DGifGetExtension(gif, &code, &block) == GIF_ERROR) fail(source, gif->Error);
    while (block != nullptr) {
      GraphicsControlBlock control{};
      if (code == GRAPHICS_EXT_FUNC_CODE &&
          DGifExtensionToGCB(block[0], block + 1, &control) == GIF_OK) {
        transparent = control.TransparentColor;
      }
      if (DGifGetExtensionNext(gif, &block) == GIF_ERROR) fail(source, gif->Error);
    }
  }
}

// The 256 colours with alpha that indices stand for. Without a palette an index is a grey level.
std::vector<uint8_t> palette_of(const GifFileType* gif, int transparent) {
  const ColorMapObject* map = gif->Image.ColorMap != nullptr ? gif->Image.ColorMap : gif->SColorMap;
  std::vector<uint8_t> palette(256 * 4, 0);
  for (int i = 0; i < 256; ++i) {
    uint8_t* rgba = palette.data() + i * 4;
    rgba[3] = i == transparent ? 0 : 255;
    if (map == nullptr) {
      std::fill_n(rgba, 3, static_cast<uint8_t>(i));
    } else if (i < map->ColorCount) {
      rgba[0] = map->Colors[i].Red;
      rgba[1] = map->Colors[i].Green;
      rgba[2] = map->Colors[i].Blue;
    }
  }
  return palette;
}

}  // namespace

Decoded decode_gif(const Source& source) {
  Input input{source};
  int error = 0;
  const Gif gif(DGifOpen(&input, on_read, &error));
  if (gif == nullptr) fail(source, error);
  const int transparent = find_first_frame(gif.get(), source);
  const GifImageDesc& frame = gif->Image;
  if (frame.Left < 0 || frame.Top < 0) fail_damaged(source, "its frame lies outside the screen");
  Decoded out;
  // A frame that reaches past the screen enlarges it.
  out.image = make_image(source, std::max<int64_t>(gif->SWidth, int64_t{frame.Left} + frame.Width),
                         std::max<int64_t>(gif->SHeight, int64_t{frame.Top} + frame.Height));
  if (frame.Width <= 0 || frame.Height <= 0) fail_damaged(source, "its first frame has no pixels");

  const std::vector<uint8_t> palette = palette_of(gif.get(), transparent);
  const auto store = [&](int index, uint8_t* rgb) {
    store_rgba(palette.data() + index * 4, source.options->alpha, rgb);
  };
  const int background = transparent == NO_TRANSPARENT_COLOR ? 0 : transparent;
  for (size_t i = 0; i < out.image.rgb.size(); i += 3) store(background, &out.image.rgb[i]);

  struct Pass {
    int first, step;
  };
  static constexpr Pass kInterlaced[] = {{0, 8}, {4, 8}, {2, 4}, {1, 2}};
  static constexpr Pass kPlain[] = {{0, 1}};
  std::vector<GifPixelType> line(static_cast<size_t>(frame.Width));
  for (const Pass& pass :
       frame.Interlace ? std::span<const Pass>(kInterlaced) : std::span<const Pass>(kPlain)) {
    for (int64_t y = pass.first; y < frame.Height; y += pass.step) {
      if (DGifGetLine(gif.get(), line.data(), frame.Width) == GIF_ERROR) fail(source, gif->Error);
      uint8_t* rgb = out.image.rgb.data() + ((frame.Top + y) * out.image.width + frame.Left) * 3;
      for (const GifPixelType index : line) {
        store(index, rgb);
        rgb += 3;
      }
    }
  }
  return out;
}

}  // namespace squint::image
