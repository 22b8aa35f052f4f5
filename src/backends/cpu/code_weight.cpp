#include "backends/cpu/code_weight.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <vector>

#include "base/check.h"
#include "base/checked_math.h"
#include "core/packed_int.h"

namespace squint::cpu {
namespace {

constexpr int64_t kSlabBytes = int64_t{64} << 20;
constexpr int64_t kDenseGroup = 64;  // columns of a 16-bit weight that share a scale
constexpr int64_t kStepBytes = 64;
constexpr int64_t kPanelRows = 16;
// Added to a small float, it leaves no bits behind the point: rounds to the nearest, ties to even,
// where the library's function would be a call for each weight.
constexpr float kToInteger = 12582912;

struct StripSizes {
  int bits = 0;
  int64_t strips = 0;
  int64_t blocks = 0;
  int64_t group_blocks = 0;
  int64_t groups = 0;
  bool zeros = false;

  int64_t code_bytes() const { return strips * blocks * kStripPanels * panel_block_bytes(bits); }
  int64_t parameters() const { return strips * groups * kStripRows; }
};

StripSizes sizes_of(const WeightForm& form) {
  StripSizes s{.bits = 8,
               .strips = ceil_div(form.out_features, kStripRows),
               .blocks = ceil_div(form.in_features, kCodeBlock)};
  int64_t group = kDenseGroup;
  if (form.scheme) {
    s.bits = form.scheme->bits;
    s.zeros = !form.scheme->symmetric;
    group = form.scheme->group_columns(form.in_features);
  }
  s.group_blocks = ceil_div(group, kCodeBlock);
  s.groups = ceil_div(s.blocks, s.group_blocks);
  return s;
}

// Where a strip's panel begins in a block.
uint8_t* panel_at(uint8_t* codes, const StripSizes& s, int64_t strip, int64_t block,
                  int64_t panel) {
  return codes + ((strip * s.blocks + block) * kStripPanels + panel) * panel_block_bytes(s.bits);
}

// Of eight bytes in order, first those at even places.
uint64_t even_first(const uint8_t* bytes) {
  std::array<uint8_t, 8> out{};
  for (size_t i = 0; i < 8; ++i) out[i % 2 * 4 + i / 2] = bytes[i];
  uint64_t both = 0;
  std::memcpy(&both, out.data(), sizeof both);
  return both;
}

// A panel's block of eight-bit codes from rows of bytes that are whole blocks.
void place_bytes(const std::array<const uint8_t*, kPanelRows>& rows, int64_t block, uint8_t* to) {
  for (int64_t lane = 0; lane < kPanelRows; ++lane) {
    const uint8_t* row = rows[static_cast<size_t>(lane)] + block * kCodeBlock;
    for (int64_t step = 0; step < kCodeBlock / 8; ++step) {
      const uint64_t both = even_first(row + step * 8);
      std::memcpy(to + 2 * step * kStepBytes + lane * 4, &both, 4);
      std::memcpy(to + (2 * step + 1) * kStepBytes + lane * 4,
                  reinterpret_cast<const uint8_t*>(&both) + 4, 4);
    }
  }
}

// Words of eight four-bit codes are what a strip holds too: sixteen rows' words side by side.
void place_words(const uint32_t* from, int64_t rows, int64_t row_words, const StripSizes& s,
                 int64_t strip, int64_t panel, uint8_t* codes) {
  constexpr int64_t kBlockWords = kCodeBlock / 8;
  const int64_t first = strip * kStripRows + panel * kPanelRows;
  for (int64_t block = 0; block < s.blocks; ++block) {
    auto* to = reinterpret_cast<uint32_t*>(panel_at(codes, s, strip, block, panel));
    const int64_t words = std::min(kBlockWords, row_words - block * kBlockWords);
    if (words < kBlockWords || first + kPanelRows > rows) {
      std::memset(to, 0, static_cast<size_t>(panel_block_bytes(4)));
    }
    for (int64_t lane = 0; lane < std::min(kPanelRows, rows - first); ++lane) {
      const uint32_t* row = from + (first + lane) * row_words + block * kBlockWords;
      for (int64_t word = 0; word < words; ++word) to[word * kPanelRows + lane] = row[word];
    }
  }
}

// A row of floats as eight bits; codes [blocks * 32] with 128 for 0, a scale a group.
void round_row(std::span<const float> row, const StripSizes& s, uint8_t* codes, bf16* scales) {
  const int64_t group_columns = s.group_blocks * kCodeBlock;
  for (int64_t group = 0; group < s.groups; ++group) {
    const int64_t begin = group * group_columns;
    const int64_t end = std::min<int64_t>(begin + group_columns, std::ssize(row));
    // In parts, or each maximum would wait for the one before.
    std::array<float, 8> most{};
    for (int64_t i = begin; i < end; ++i) {
      float& part = most[static_cast<size_t>(i % 8)];
      part = std::max(part, std::fabs(row[static_cast<size_t>(i)]));
    }
    const float largest = std::ranges::max(most);
    const bf16 scale = to_bf16(largest / 127);
    scales[group * kStripRows] = scale;
    const float inverse = to_float(scale) > 0 ? 1 / to_float(scale) : 0.0f;
    for (int64_t i = begin; i < end; ++i) {
      const float code = std::clamp(row[static_cast<size_t>(i)] * inverse, -127.0f, 127.0f);
      codes[i] = static_cast<uint8_t>(static_cast<int>((code + kToInteger) - kToInteger) + 128);
    }
  }
}

}  // namespace

Tensor WeightMemory::take(DType dtype, const Shape& shape) {
  constexpr int64_t kAlignment = 64;
  const int64_t bytes = round_up(shape.numel() * byte_size(dtype), kAlignment);
  if (bytes > kSlabBytes) return Tensor::on_host(dtype, shape);
  if (slab_ == nullptr || used_ + bytes > slab_->bytes()) {
    slab_ = allocate_host(kSlabBytes);
    used_ = 0;
  }
  const Tensor taken(slab_, used_, dtype, shape);
  used_ += bytes;
  return taken;
}

WeightForm CodeWeight::form_of(const LinearWeight& weight) {
  WeightForm form{.out_features = weight.out_features,
                  .in_features = weight.in_features,
                  .dtype = DType::bf16,
                  .scheme = {},
                  .eight_bits_do = weight.eight_bits_do};
  if (const auto* packed = std::get_if<PackedLinear>(&weight.weight)) {
    const bool whole_row = packed->group_size == packed->cols;
    form.scheme = QuantizationScheme{.bits = packed->bits,
                                     .group_size = whole_row ? 0 : packed->group_size,
                                     .symmetric = packed->symmetric()};
  } else {
    form.dtype = std::get<Tensor>(weight.weight).dtype();
  }
  return form;
}

bool CodeWeight::takes(const WeightForm& form) {
  if (!form.scheme) return form.eight_bits_do && form.dtype != DType::f32;
  const int64_t group = form.scheme->group_columns(form.in_features);
  return group == form.in_features || group % kCodeBlock == 0;
}

PreparedSize CodeWeight::size_of(const WeightForm& form) {
  const StripSizes s = sizes_of(form);
  return {.kept = s.code_bytes() + s.parameters() * (byte_size(DType::bf16) + (s.zeros ? 1 : 0)),
          .passing = s.zeros ? form.out_features * s.groups : 0};
}

void CodeWeight::allocate(const WeightForm& form, WeightMemory& memory) {
  const StripSizes s = sizes_of(form);
  codes_ = memory.take(DType::u8, {s.code_bytes()});
  scales_ = memory.take(DType::bf16, {s.strips, s.groups, kStripRows});
  std::memset(scales_.raw(), 0, static_cast<size_t>(scales_.bytes()));
  if (s.zeros) {
    zeros_ = memory.take(DType::u8, {s.strips, s.groups, kStripRows});
    std::memset(zeros_.raw(), 0, static_cast<size_t>(zeros_.bytes()));
  }
  strips_ = {.codes = codes_.span<uint8_t>().data(),
             .scales = reinterpret_cast<const uint16_t*>(scales_.raw()),
             .zeros = s.zeros ? zeros_.span<uint8_t>().data() : nullptr,
             .bits = s.bits,
             .out = form.out_features,
             .blocks = s.blocks,
             .group_blocks = s.group_blocks,
             .groups = s.groups};
}

namespace {

void place_parameters(const PackedLinear& packed, const StripSizes& s, bf16* scales,
                      uint8_t* zeros) {
  const int64_t groups = packed.groups();
  const auto from = packed.scale.span<bf16>();
  const Tensor zero_points =
      zeros == nullptr ? Tensor() : unpack_zero_points(packed.zero_point, packed.rows, packed.bits);
  for (int64_t row = 0; row < packed.rows; ++row) {
    for (int64_t group = 0; group < groups; ++group) {
      const int64_t to = (row / kStripRows * s.groups + group) * kStripRows + row % kStripRows;
      const auto at = static_cast<size_t>(row * groups + group);
      scales[to] = from[at];
      if (zeros == nullptr) continue;
      zeros[to] = static_cast<uint8_t>(zero_points.span<int8_t>()[at] + (1 << (packed.bits - 1)));
    }
  }
}

// Sixteen rows at a time: bytes of eight-bit codes, one way or the other, then their places.
template <class FillRow>
void place_rows(int64_t rows, const StripSizes& s, uint8_t* codes, ThreadPool& threads,
                const FillRow& fill_row) {
  const int64_t columns = s.blocks * kCodeBlock;
  threads.parallel_for(s.strips * kStripPanels, 1, [&](int64_t begin, int64_t end, int) {
    std::vector<uint8_t> bytes(static_cast<size_t>(columns * kPanelRows));
    std::array<const uint8_t*, kPanelRows> starts{};
    for (int64_t panel = begin; panel < end; ++panel) {
      std::ranges::fill(bytes, uint8_t{128});
      for (int64_t lane = 0; lane < kPanelRows; ++lane) {
        uint8_t* to = bytes.data() + lane * columns;
        starts[static_cast<size_t>(lane)] = to;
        const int64_t row = panel * kPanelRows + lane;
        if (row < rows) fill_row(row, to);
      }
      for (int64_t block = 0; block < s.blocks; ++block) {
        place_bytes(starts, block,
                    panel_at(codes, s, panel / kStripPanels, block, panel % kStripPanels));
      }
    }
  });
}

}  // namespace

std::shared_ptr<const CodeWeight> CodeWeight::make(const LinearWeight& weight, WeightMemory& memory,
                                                   ThreadPool& threads) {
  const WeightForm form = form_of(weight);
  SQUINT_CHECK(takes(form));
  const std::shared_ptr<CodeWeight> made(new CodeWeight);
  made->allocate(form, memory);
  const StripSizes s = sizes_of(form);
  auto* codes = made->codes_.span<uint8_t>().data();
  auto* scales = made->scales_.span<bf16>().data();
  if (const auto* packed = std::get_if<PackedLinear>(&weight.weight)) {
    SQUINT_CHECK(packed->rows == form.out_features && packed->cols == form.in_features);
    place_parameters(*packed, s, scales, s.zeros ? made->zeros_.span<uint8_t>().data() : nullptr);
    const auto* words = reinterpret_cast<const uint32_t*>(packed->packed.raw());
    const int64_t row_words = packed->packed.dim(1);
    if (packed->bits == 4) {
      threads.parallel_for(s.strips * kStripPanels, 1, [&](int64_t begin, int64_t end, int) {
        for (int64_t i = begin; i < end; ++i) {
          place_words(words, packed->rows, row_words, s, i / kStripPanels, i % kStripPanels, codes);
        }
      });
    } else {
      place_rows(packed->rows, s, codes, threads, [&](int64_t row, uint8_t* to) {
        std::memcpy(to, words + row * row_words, static_cast<size_t>(packed->cols));
      });
    }
    return made;
  }
  const Tensor& source = std::get<Tensor>(weight.weight);
  SQUINT_CHECK(source.shape() == Shape({form.out_features, form.in_features}));
  place_rows(form.out_features, s, codes, threads, [&](int64_t row, uint8_t* to) {
    std::vector<float> values(static_cast<size_t>(form.in_features));
    to_f32(source.rows(row, 1), values);
    round_row(values, s, to, scales + row / kStripRows * s.groups * kStripRows + row % kStripRows);
  });
  return made;
}

}  // namespace squint::cpu
