#include "backends/cpu/panels.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "base/checked_math.h"
#include "core/packed_int.h"

namespace squint::cpu {
namespace {

// to[panel][k][lane] = from[panel * 16 + lane][k]; lanes past the last row are zero.
template <class T>
void interleave(const T* from, int64_t rows, int64_t cols, T* to, ThreadPool& threads) {
  const int64_t panels = ceil_div(rows, kLanes);
  threads.parallel_for(panels, 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t panel = begin; panel < end; ++panel) {
      T* out = to + panel * cols * kLanes;
      for (int64_t lane = 0; lane < kLanes; ++lane) {
        const int64_t row = panel * kLanes + lane;
        for (int64_t k = 0; k < cols; ++k) {
          out[k * kLanes + lane] = row < rows ? from[row * cols + k] : T{};
        }
      }
    }
  });
}

// Codes become unsigned bytes; four-bit codes share a byte: lane i below, lane i + 8 above.
void interleave_codes(const int8_t* codes, int64_t rows, int64_t cols, int bits, uint8_t* to,
                      ThreadPool& threads) {
  const int offset = 1 << (bits - 1);
  const int64_t column_bytes = bits == 4 ? kLanes / 2 : kLanes;
  threads.parallel_for(ceil_div(rows, kLanes), 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t panel = begin; panel < end; ++panel) {
      uint8_t* out = to + panel * cols * column_bytes;
      std::memset(out, 0, static_cast<size_t>(cols * column_bytes));
      for (int64_t lane = 0; lane < std::min(kLanes, rows - panel * kLanes); ++lane) {
        const int8_t* row = codes + (panel * kLanes + lane) * cols;
        const int64_t at = bits == 4 ? lane % 8 : lane;
        const int shift = bits == 4 && lane >= 8 ? 4 : 0;
        for (int64_t k = 0; k < cols; ++k) {
          out[k * column_bytes + at] |= static_cast<uint8_t>((row[k] + offset) << shift);
        }
      }
    }
  });
}

}  // namespace

PreparedSize PanelWeight::size_of(const WeightForm& form) {
  const int64_t out = form.out_features;
  const int64_t in = form.in_features;
  const int64_t rows = round_up(out, kLanes);
  if (!form.scheme) {
    if (form.dtype == DType::bf16) return {.kept = rows * in * byte_size(DType::bf16)};
    const int64_t floats = byte_size(DType::f32);
    return {.kept = rows * in * floats,
            .passing = form.dtype == DType::f32 ? 0 : out * in * floats};
  }
  const int64_t groups = form.scheme->groups(in);
  const int64_t parameters = 2 * byte_size(DType::f32);  // scale and zero point
  return {.kept = rows * in * form.scheme->bits / 8 + rows * groups * parameters,
          // What unpack_linear makes, a byte each but for the scales, and both again as floats.
          .passing = out * in + out * groups + out * groups * parameters};
}

int64_t PanelWeight::bytes() const {
  int64_t total = 0;
  for (const Tensor* tensor : {&values_, &scales_, &zeros_}) {
    if (!tensor->empty()) total += tensor->bytes();
  }
  return total;
}

std::shared_ptr<const PanelWeight> PanelWeight::make(const LinearWeight& weight,
                                                     ThreadPool& threads) {
  const std::shared_ptr<PanelWeight> made(new PanelWeight);
  const int64_t out = weight.out_features;
  const int64_t in = weight.in_features;
  const int64_t panels = ceil_div(out, kLanes);
  made->panels_ = {.in = in, .out = out, .group_columns = in};
  Panels& p = made->panels_;
  if (const auto* packed = std::get_if<PackedLinear>(&weight.weight)) {
    SQUINT_CHECK(packed->rows == out && packed->cols == in);
    const QuantizedWeight w = unpack_linear(*packed);
    const int64_t groups = packed->groups();
    p.format = packed->bits == 4 ? PanelFormat::int4 : PanelFormat::int8;
    p.group_columns = packed->group_size;
    made->values_ = Tensor::on_host(DType::u8, {panels, in, kLanes * packed->bits / 8});
    interleave_codes(w.codes.span<int8_t>().data(), out, in, packed->bits,
                     made->values_.span<uint8_t>().data(), threads);
    std::vector<float> scales(static_cast<size_t>(out * groups));
    std::vector<float> zeros(scales.size());
    const auto offset = static_cast<float>(1 << (packed->bits - 1));
    for (size_t i = 0; i < scales.size(); ++i) {
      scales[i] = to_float(w.scales.span<bf16>()[i]);
      zeros[i] = static_cast<float>(w.zero_points.span<int8_t>()[i]) + offset;
    }
    made->scales_ = Tensor::on_host(DType::f32, {panels, groups, kLanes});
    made->zeros_ = Tensor::on_host(DType::f32, {panels, groups, kLanes});
    interleave(scales.data(), out, groups, made->scales_.span<float>().data(), threads);
    interleave(zeros.data(), out, groups, made->zeros_.span<float>().data(), threads);
    p.scales = made->scales_.span<float>().data();
    p.zeros = made->zeros_.span<float>().data();
  } else {
    const Tensor& source = std::get<Tensor>(weight.weight);
    SQUINT_CHECK(source.shape() == Shape({out, in}));
    const bool half = source.dtype() == DType::bf16;
    p.format = half ? PanelFormat::bf16 : PanelFormat::f32;
    made->values_ = Tensor::on_host(half ? DType::bf16 : DType::f32, {panels, in, kLanes});
    if (half) {
      interleave(source.span<bf16>().data(), out, in, made->values_.span<bf16>().data(), threads);
    } else {
      const Tensor floats = source.dtype() == DType::f32 ? source : to_f32(source);
      interleave(floats.span<float>().data(), out, in, made->values_.span<float>().data(), threads);
    }
  }
  p.values = made->values_.raw();
  return made;
}

}  // namespace squint::cpu
