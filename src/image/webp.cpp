// webp.cpp: WebP through libwebp, lossy (smooth chroma upsampling) and lossless; of an animation
// the first frame on its canvas.
#include <webp/decode.h>
#include <webp/demux.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "image/bytes.h"
#include "image/codec.h"
#include "image/orientation.h"

namespace squint::image {
namespace {

using Demuxer = std::unique_ptr<WebPDemuxer, decltype(&WebPDemuxDelete)>;

struct Frame {
  WebPIterator it{};
  ~Frame() { WebPDemuxReleaseIterator(&it); }
};

int orientation_of(const WebPDemuxer* demuxer) {
  WebPChunkIterator chunk{};
  int orientation = 1;
  if (WebPDemuxGetChunk(demuxer, "EXIF", 1, &chunk) != 0) {
    orientation =
        exif_orientation({reinterpret_cast<const std::byte*>(chunk.chunk.bytes), chunk.chunk.size});
  }
  WebPDemuxReleaseChunkIterator(&chunk);
  return orientation;
}

bool is_truncated(const Source& source) {
  constexpr uint64_t kRiffHeader = 8;
  const auto claimed = ByteView(source.bytes, /*big_endian=*/false).u32(4);
  return !claimed || *claimed + kRiffHeader > source.size();
}

}  // namespace

Decoded decode_webp(const Source& source) {
  const WebPData data{source.data(), source.size()};
  const Demuxer demuxer(WebPDemux(&data), WebPDemuxDelete);
  if (demuxer == nullptr) {
    if (is_truncated(source)) fail_truncated(source);
    fail_damaged(source, "its chunks do not make an image");
  }
  Decoded out;
  out.orientation = orientation_of(demuxer.get());
  out.image = make_image(source, WebPDemuxGetI(demuxer.get(), WEBP_FF_CANVAS_WIDTH),
                         WebPDemuxGetI(demuxer.get(), WEBP_FF_CANVAS_HEIGHT));
  Frame frame;
  if (WebPDemuxGetFrame(demuxer.get(), 1, &frame.it) == 0) fail_damaged(source, "it has no frame");
  const WebPIterator& it = frame.it;
  const int64_t stride = out.image.width * 3;
  // The demuxer holds frames to their canvas; what a reader writes must not rest on that alone.
  if (it.width <= 0 || it.height <= 0 || it.x_offset < 0 || it.y_offset < 0 ||
      it.x_offset + int64_t{it.width} > out.image.width ||
      it.y_offset + int64_t{it.height} > out.image.height) {
    fail_damaged(source, "its first frame lies outside the canvas");
  }
  uint8_t* origin = out.image.rgb.data() + it.y_offset * stride + it.x_offset * 3;
  std::vector<uint8_t> rgba(static_cast<size_t>(int64_t{it.width} * it.height * 4));
  if (WebPDecodeRGBAInto(it.fragment.bytes, it.fragment.size, rgba.data(), rgba.size(),
                         it.width * 4) == nullptr) {
    fail_damaged(source, "its pixels cannot be decoded");
  }
  const Alpha alpha = source.options->alpha;
  // Around the frame the canvas is transparent black.
  if (alpha == Alpha::white) std::fill(out.image.rgb.begin(), out.image.rgb.end(), uint8_t{255});
  for (int64_t y = 0; y < it.height; ++y) {
    for (int64_t x = 0; x < it.width; ++x) {
      store_rgba(rgba.data() + (y * it.width + x) * 4, alpha, origin + y * stride + x * 3);
    }
  }
  return out;
}

}  // namespace squint::image
