// jpeg.cpp: JPEG through libjpeg-turbo.
//
// The library reports errors by calling back, and the callback must not return: it jumps. Functions
// between setjmp and the library therefore own nothing; JpegReader, outside the jump, owns all.
// clang-format off
#include <cstddef>
#include <cstdio>
#include <jpeglib.h>
#include <jerror.h>
// clang-format on

#include <csetjmp>
#include <cstring>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "image/codec.h"
#include "image/orientation.h"

namespace squint::image {
namespace {

// A progressive file may repeat tiny scans without end, each of which costs a pass over the image.
constexpr int kMaxScans = 500;
constexpr int kExifMarker = JPEG_APP0 + 1;

struct ErrorState {
  jpeg_error_mgr manager;  // first: the library's pointer to it is a pointer to the whole
  std::jmp_buf jump;
  bool truncated = false;
  char message[JMSG_LENGTH_MAX] = {};
};

ErrorState* state_of(j_common_ptr info) { return reinterpret_cast<ErrorState*>(info->err); }

[[noreturn]] void on_error(j_common_ptr info) {
  ErrorState* state = state_of(info);
  info->err->format_message(info, state->message);
  std::longjmp(state->jump, 1);
}

// Damaged data is a warning and decoding goes on, as in Pillow; running out of data is an error.
void on_message(j_common_ptr info, int level) {
  if (level == -1 && info->err->msg_code == JWRN_JPEG_EOF) {
    state_of(info)->truncated = true;
    std::longjmp(state_of(info)->jump, 1);
  }
}

void on_output(j_common_ptr) {}

void on_progress(j_common_ptr info) {
  auto* decompress = reinterpret_cast<j_decompress_ptr>(info);
  if (decompress->input_scan_number <= kMaxScans) return;
  std::strcpy(state_of(info)->message, "more than 500 scans");
  std::longjmp(state_of(info)->jump, 1);
}

class JpegReader {
 public:
  explicit JpegReader(const Source& source) : source_(source) {
    info_.err = jpeg_std_error(&errors_.manager);
    errors_.manager.error_exit = on_error;
    errors_.manager.emit_message = on_message;
    errors_.manager.output_message = on_output;
    progress_.progress_monitor = on_progress;
  }
  ~JpegReader() { jpeg_destroy_decompress(&info_); }
  JpegReader(const JpegReader&) = delete;
  JpegReader& operator=(const JpegReader&) = delete;

  // Each false where the library gave up; why() throws the reason.
  bool read_header();
  bool start();
  bool read_row(uint8_t* row);

  [[noreturn]] void why() const {
    if (errors_.truncated) fail_truncated(source_);
    fail_damaged(source_, errors_.message);
  }
  const jpeg_decompress_struct& info() const { return info_; }
  int orientation() const;

 private:
  const Source& source_;
  ErrorState errors_;
  jpeg_progress_mgr progress_{};
  jpeg_decompress_struct info_{};
};

bool JpegReader::read_header() {
  if (setjmp(errors_.jump) != 0) return false;
  jpeg_create_decompress(&info_);
  info_.progress = &progress_;
  jpeg_save_markers(&info_, kExifMarker, 0xffff);
  jpeg_mem_src(&info_, source_.data(), source_.size());
  jpeg_read_header(&info_, TRUE);
  return true;
}

bool JpegReader::start() {
  if (setjmp(errors_.jump) != 0) return false;
  info_.out_color_space = info_.num_components == 4 ? JCS_CMYK : JCS_RGB;
  info_.dct_method = JDCT_ISLOW;
  info_.do_fancy_upsampling = TRUE;
  jpeg_start_decompress(&info_);
  return true;
}

bool JpegReader::read_row(uint8_t* row) {
  if (setjmp(errors_.jump) != 0) return false;
  JSAMPROW rows[] = {row};
  jpeg_read_scanlines(&info_, rows, 1);
  return true;
}

int JpegReader::orientation() const {
  constexpr std::string_view kExif("Exif\0\0", 6);
  for (jpeg_saved_marker_ptr m = info_.marker_list; m != nullptr; m = m->next) {
    if (m->marker != kExifMarker || m->data_length < kExif.size()) continue;
    if (std::memcmp(m->data, kExif.data(), kExif.size()) != 0) continue;
    return exif_orientation({reinterpret_cast<const std::byte*>(m->data), m->data_length});
  }
  return 1;
}

// Four-channel files hold inverted ink, by Adobe's convention, which Pillow assumes for all.
void store_inverted_cmyk(const uint8_t* cmyk, int64_t width, uint8_t* rgb) {
  for (int64_t x = 0; x < width; ++x, cmyk += 4, rgb += 3) {
    const int light = cmyk[3];
    for (int c = 0; c < 3; ++c) {
      rgb[c] = static_cast<uint8_t>(light - div255((255 - cmyk[c]) * light));
    }
  }
}

}  // namespace

Decoded decode_jpeg(const Source& source) {
  JpegReader reader(source);
  if (!reader.read_header()) reader.why();
  const int channels = reader.info().num_components;
  if (channels != 1 && channels != 3 && channels != 4) {
    fail_variant(source, "a JPEG with other than 1, 3 or 4 channels");
  }
  Decoded out;
  out.orientation = reader.orientation();
  out.image = make_image(source, reader.info().image_width, reader.info().image_height);
  if (!reader.start()) reader.why();
  SQUINT_CHECK(reader.info().output_width == reader.info().image_width);
  const int64_t width = out.image.width;
  std::vector<uint8_t> cmyk(channels == 4 ? static_cast<size_t>(width * 4) : 0);
  for (int64_t y = 0; y < out.image.height; ++y) {
    uint8_t* row = out.image.rgb.data() + y * width * 3;
    if (!reader.read_row(cmyk.empty() ? row : cmyk.data())) reader.why();
    if (!cmyk.empty()) store_inverted_cmyk(cmyk.data(), width, row);
  }
  return out;
}

}  // namespace squint::image
