#include "backends/cuda/device_weight.h"

#include <fmt/format.h>

#include <bit>
#include <vector>

#include "backends/cuda/device_memory.h"
#include "base/check.h"
#include "base/checked_math.h"
#include "core/packed_int.h"
#include "squint/error.h"

namespace squint::cuda {
namespace {

constexpr int64_t kVectorBytes = 16;
constexpr int64_t kGroupBytes = 4;
constexpr int64_t kTileBytes = kTileRows * kTileColumns / 2;

// By how much a tile's place is shifted to give its group, -1 where tiles lie in several groups or
// it takes a division.
int32_t shift_for(int64_t groups, int64_t group_columns) {
  if (groups <= 1) return 31;
  const int64_t tiles = group_columns / kTileColumns;
  if (group_columns % kTileColumns != 0 || (tiles & (tiles - 1)) != 0) return -1;
  return static_cast<int32_t>(std::countr_zero(static_cast<uint64_t>(tiles)));
}

}  // namespace

PreparedSize DeviceWeight::size_of(const WeightForm& form, WeightLayout layout) {
  const int64_t out = form.out_features;
  const int64_t in = form.in_features;
  if (!form.scheme) {
    const bool half = form.dtype == DType::bf16;
    const int64_t bytes = byte_size(half ? DType::bf16 : DType::f32);
    return {.kept = out * round_up(in * bytes, kVectorBytes),
            .passing = form.dtype == DType::f16 ? out * in * bytes : 0};
  }
  const int64_t groups = out * form.scheme->groups(in);
  // A row on disk is made of whole words.
  const int64_t row_bytes = ceil_div(in * form.scheme->bits, 32) * 4;
  const int64_t row_groups = form.scheme->groups(in);
  if (layout == WeightLayout::tiles && form.scheme->bits == 4 &&
      shift_for(row_groups, form.scheme->group_size) >= 0) {
    const int64_t tiles = ceil_div(out, kTileRows);
    return {.kept = tiles * (ceil_div(in, kTileColumns) * kTileBytes +
                             row_groups * kTileRows * kGroupBytes),
            .passing = out * round_up(row_bytes, kVectorBytes) + groups * (1 + 2 * kGroupBytes)};
  }
  // Passing: zero points unpacked, a byte each, and the words made of them.
  return {.kept = out * round_up(row_bytes, kVectorBytes) + groups * kGroupBytes,
          .passing = groups * (1 + kGroupBytes)};
}

void DeviceWeight::take_rows(const std::byte* rows, int64_t row_bytes, int device,
                             cudaStream_t stream) {
  const int64_t stride = round_up(row_bytes, kVectorBytes);
  values_ = allocate_on(device, matrix_.out * stride);
  if (stride != row_bytes) {
    check(cudaMemsetAsync(values_->data(), 0, static_cast<size_t>(matrix_.out * stride), stream),
          "padding a weight");
  }
  check(cudaMemcpy2DAsync(values_->data(), static_cast<size_t>(stride), rows,
                          static_cast<size_t>(row_bytes), static_cast<size_t>(row_bytes),
                          static_cast<size_t>(matrix_.out), cudaMemcpyDefault, stream),
        "copying a weight");
  matrix_.values = values_->data();
  matrix_.row_vectors = stride / kVectorBytes;
}

// As it lies there, where rows are whole vectors.
bool DeviceWeight::share_rows(const Tensor& source) {
  if (source.device().kind != DeviceKind::cuda || source.dtype() != DType::f32) return false;
  const auto at = reinterpret_cast<uintptr_t>(source.raw());
  if (source.dim(1) * 4 % kVectorBytes != 0 || at % kVectorBytes != 0) return false;
  matrix_.format = WeightFormat::f32;
  values_ = source.storage();
  matrix_.values = source.raw();
  matrix_.row_vectors = source.dim(1) * 4 / kVectorBytes;
  return true;
}

void DeviceWeight::take_groups(const PackedLinear& packed, int device, cudaStream_t stream) {
  const std::span<const bf16> scales = packed.scale.span<const bf16>();
  const auto middle = static_cast<uint32_t>(1 << (packed.bits - 1));
  std::vector<uint32_t> words(scales.size());
  Tensor zeros;
  if (!packed.symmetric()) zeros = unpack_zero_points(packed.zero_point, packed.rows, packed.bits);
  for (size_t i = 0; i < words.size(); ++i) {
    const int zero = zeros.empty() ? 0 : zeros.span<const int8_t>()[i];
    words[i] = static_cast<uint32_t>(scales[i].bits) << 16 |
               static_cast<uint32_t>(static_cast<int>(middle) + zero);
  }
  const auto bytes = static_cast<int64_t>(words.size()) * kGroupBytes;
  groups_ = allocate_on(device, bytes);
  check(cudaMemcpyAsync(groups_->data(), words.data(), static_cast<size_t>(bytes),
                        cudaMemcpyHostToDevice, stream),
        "copying scales");
  // The words end with this function; what was copied from pageable memory has left it by then.
  check(cudaStreamSynchronize(stream), "copying scales");
  matrix_.groups = reinterpret_cast<const uint32_t*>(groups_->data());
  matrix_.group_count = packed.groups();
  matrix_.group_columns = packed.group_size;
}

void DeviceWeight::tile(int device, cudaStream_t stream) {
  const int64_t tiles = ceil_div(matrix_.out, kTileRows);
  const auto values = allocate_on(device, tiles * ceil_div(matrix_.in, kTileColumns) * kTileBytes);
  const auto groups = allocate_on(device, tiles * matrix_.group_count * kTileRows * kGroupBytes);
  tile_int4(matrix_, values->data(), reinterpret_cast<uint32_t*>(groups->data()), stream);
  check(cudaGetLastError(), "laying out a weight");
  check(cudaStreamSynchronize(stream), "laying out a weight");  // before its rows go
  values_ = values;
  groups_ = groups;
  matrix_.values = values_->data();
  matrix_.groups = reinterpret_cast<const uint32_t*>(groups_->data());
  tiled_ = true;
}

const DeviceWeight& DeviceWeight::of(const LinearWeight& weight) {
  const auto* prepared = std::get_if<std::shared_ptr<const PreparedWeight>>(&weight.weight);
  SQUINT_CHECK(prepared != nullptr);  // Backend::prepare was forgotten
  const auto* device = dynamic_cast<const DeviceWeight*>(prepared->get());
  SQUINT_CHECK(device != nullptr);
  return *device;
}

std::shared_ptr<const DeviceWeight> DeviceWeight::make(const LinearWeight& weight,
                                                       WeightLayout layout, int device,
                                                       cudaStream_t stream) {
  const std::shared_ptr<DeviceWeight> made(new DeviceWeight);
  DeviceMatrix& m = made->matrix_;
  m.in = weight.in_features;
  m.out = weight.out_features;
  m.group_columns = weight.in_features;
  if (const auto* packed = std::get_if<PackedLinear>(&weight.weight)) {
    SQUINT_CHECK(packed->rows == m.out && packed->cols == m.in);
    if (packed->groups() > 1 && packed->group_size % 4 != 0) {
      throw Error(
          ErrorCode::unsupported,
          fmt::format("cuda: groups of {} columns, expected a multiple of 4", packed->group_size));
    }
    m.format = packed->bits == 4 ? WeightFormat::int4 : WeightFormat::int8;
    made->take_rows(packed->packed.raw(), packed->packed.dim(1) * 4, device, stream);
    made->take_groups(*packed, device, stream);
    made->group_shift_ = shift_for(m.group_count, m.group_columns);
    if (layout == WeightLayout::tiles && packed->bits == 4 && made->group_shift_ >= 0) {
      made->tile(device, stream);
    }
    return made;
  }
  Tensor source = std::get<Tensor>(weight.weight);
  SQUINT_CHECK(source.shape() == Shape({m.out, m.in}));
  if (made->share_rows(source)) return made;
  if (source.dtype() == DType::f16) source = to_f32(source);
  m.format = source.dtype() == DType::bf16 ? WeightFormat::bf16 : WeightFormat::f32;
  made->take_rows(source.raw(), m.in * byte_size(source.dtype()), device, stream);
  check(cudaStreamSynchronize(stream), "copying a weight");
  return made;
}

}  // namespace squint::cuda
