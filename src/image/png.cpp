// png.cpp: PNG through libpng.
//
// The library reports errors by calling back, and the callback must not return: it jumps. Functions
// between setjmp and the library own nothing; PngReader, outside the jump, owns all.
#include <png.h>

#include <algorithm>
#include <csetjmp>
#include <cstdio>
#include <cstring>
#include <new>
#include <vector>

#include "image/bytes.h"
#include "image/codec.h"
#include "image/orientation.h"

namespace squint::image {
namespace {

class PngReader {
 public:
  explicit PngReader(const Source& source) : source_(source) {}
  ~PngReader() { png_destroy_read_struct(&png_, &info_, nullptr); }
  PngReader(const PngReader&) = delete;
  PngReader& operator=(const PngReader&) = delete;

  // Each false where the library gave up; why() throws the reason.
  bool read_header();
  bool start();
  bool read_pass(uint8_t* pixels, bool whole_image);

  [[noreturn]] void why() const {
    if (truncated_) fail_truncated(source_);
    fail_damaged(source_, message_);
  }
  int64_t width() const { return png_get_image_width(png_, info_); }
  int64_t height() const { return png_get_image_height(png_, info_); }
  int channels() const { return png_get_channels(png_, info_); }
  int passes() const { return passes_; }
  int64_t row_bytes() const { return static_cast<int64_t>(png_get_rowbytes(png_, info_)); }
  // Stored as 16-bit grey, which stays 16 bits wide; all other files arrive in 8 bits.
  bool wide_gray() const { return wide_gray_; }

 private:
  static void on_error(png_structp png, png_const_charp message);
  static void on_warning(png_structp, png_const_charp) {}
  static void on_read(png_structp png, png_bytep out, size_t count);

  const Source& source_;
  png_structp png_ = nullptr;
  png_infop info_ = nullptr;
  std::jmp_buf jump_;
  size_t at_ = 0;
  int passes_ = 1;
  bool wide_gray_ = false;
  bool truncated_ = false;
  char message_[128] = {};
};

void PngReader::on_error(png_structp png, png_const_charp message) {
  auto* reader = static_cast<PngReader*>(png_get_error_ptr(png));
  std::snprintf(reader->message_, sizeof reader->message_, "%s", message);
  std::longjmp(reader->jump_, 1);
}

void PngReader::on_read(png_structp png, png_bytep out, size_t count) {
  auto* reader = static_cast<PngReader*>(png_get_io_ptr(png));
  if (reader->source_.size() - reader->at_ < count) {
    reader->truncated_ = true;
    png_error(png, "truncated");
  }
  std::memcpy(out, reader->source_.data() + reader->at_, count);
  reader->at_ += count;
}

bool PngReader::read_header() {
  if (setjmp(jump_) != 0) return false;
  png_ = png_create_read_struct(PNG_LIBPNG_VER_STRING, this, on_error, on_warning);
  if (png_ == nullptr) throw std::bad_alloc();
  info_ = png_create_info_struct(png_);
  if (info_ == nullptr) throw std::bad_alloc();
  png_set_read_fn(png_, this, on_read);
  png_set_user_limits(png_, PNG_UINT_31_MAX, PNG_UINT_31_MAX);
  // All but the image itself (IHDR, PLTE, tRNS, IDAT, IEND) is skipped unread: some chunks would be
  // inflated, and eXIf allocated, to whatever length they claim.
  png_set_keep_unknown_chunks(png_, PNG_HANDLE_CHUNK_NEVER, nullptr, -1);
  png_read_info(png_, info_);
  return true;
}

bool PngReader::start() {
  if (setjmp(jump_) != 0) return false;
  wide_gray_ = png_get_color_type(png_, info_) == PNG_COLOR_TYPE_GRAY &&
               png_get_bit_depth(png_, info_) == 16;
  png_set_expand(png_);
  if (!wide_gray_) png_set_strip_16(png_);
  passes_ = png_set_interlace_handling(png_);
  png_read_update_info(png_, info_);
  return true;
}

bool PngReader::read_pass(uint8_t* pixels, bool whole_image) {
  if (setjmp(jump_) != 0) return false;
  if (!whole_image) {
    png_read_row(png_, pixels, nullptr);
    return true;
  }
  const size_t stride = png_get_rowbytes(png_, info_);
  const png_uint_32 rows = png_get_image_height(png_, info_);
  for (png_uint_32 y = 0; y < rows; ++y) png_read_row(png_, pixels + y * stride, nullptr);
  return true;
}

// From the eXIf chunk, which may stand before or behind the pixels.
int orientation_of(const Source& source) {
  constexpr uint64_t kSignature = 8;
  constexpr uint64_t kAround = 12;  // length, type and checksum
  constexpr uint32_t kExif = 0x65584966;
  const ByteView view(source.bytes, /*big_endian=*/true);
  uint64_t at = kSignature;
  while (const auto length = view.u32(at)) {
    const uint64_t end = at + kAround + *length;
    if (end > source.size()) break;
    if (view.u32(at + 4) == kExif) return exif_orientation(source.bytes.subspan(at + 8, *length));
    at = end;
  }
  return 1;
}

// 16-bit grey is clipped to 8 bits, not scaled, and 16-bit colour keeps its upper bytes: so does
// Pillow, for which the first is an integer image and the second is not.
void store_row(const PngReader& reader, const uint8_t* row, Alpha alpha, uint8_t* rgb) {
  const int channels = reader.channels();
  const bool has_alpha = channels == 2 || channels == 4;
  const int bytes = reader.wide_gray() ? 2 : 1;
  for (int64_t x = 0; x < reader.width(); ++x, row += channels * bytes, rgb += 3) {
    uint8_t rgba[4] = {0, 0, 0, 255};
    if (reader.wide_gray()) {
      std::fill_n(rgba, 3, row[0] == 0 ? row[1] : uint8_t{255});
    } else if (channels <= 2) {
      std::fill_n(rgba, 3, row[0]);
    } else {
      std::copy_n(row, 3, rgba);
    }
    if (has_alpha) rgba[3] = row[(channels - 1) * bytes];
    store_rgba(rgba, alpha, rgb);
  }
}

}  // namespace

Decoded decode_png(const Source& source) {
  PngReader reader(source);
  if (!reader.read_header()) reader.why();
  Decoded out;
  out.image = make_image(source, reader.width(), reader.height());
  if (!reader.start()) reader.why();
  const Alpha alpha = source.options->alpha;
  const int64_t stride = reader.row_bytes();
  const int64_t height = out.image.height;
  // An interlaced file fills the same rows several times.
  const bool whole = reader.passes() > 1;
  std::vector<uint8_t> rows(static_cast<size_t>(stride * (whole ? height : 1)));
  for (int pass = 0; whole && pass < reader.passes(); ++pass) {
    if (!reader.read_pass(rows.data(), true)) reader.why();
  }
  for (int64_t y = 0; y < height; ++y) {
    if (!whole && !reader.read_pass(rows.data(), false)) reader.why();
    store_row(reader, rows.data() + (whole ? y * stride : 0), alpha,
              out.image.rgb.data() + y * out.image.width * 3);
  }
  out.orientation = orientation_of(source);
  return out;
}

}  // namespace squint::image
