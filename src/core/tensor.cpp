#include "core/tensor.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <limits>

#include "base/check.h"
#include "base/checked_math.h"

namespace squint {
namespace {

class HostStorage : public Storage {
 public:
  HostStorage(void* data, int64_t bytes) : Storage(data, bytes, {}) {}
  ~HostStorage() override { std::free(data()); }
};

}  // namespace

std::shared_ptr<Storage> allocate_host(int64_t bytes) {
  SQUINT_CHECK(bytes >= 0);
  constexpr int64_t kAlignment = 64;
  constexpr int64_t kHugePage = 2 << 20;
  constexpr int64_t kHuge = 32 << 20;  // what glibc maps by itself and gives back at once
  void* data = nullptr;
  if (bytes <= std::numeric_limits<int64_t>::max() - kHugePage) {
    const int64_t alignment = bytes >= kHuge ? kHugePage : kAlignment;
    data =
        std::aligned_alloc(static_cast<size_t>(alignment),
                           static_cast<size_t>(round_up(std::max<int64_t>(bytes, 1), alignment)));
    // Only a hint: a matrix of hundreds of megabytes faults in hundreds of pages, not in 50
    // thousand.
    if (data != nullptr && bytes >= kHuge) {
      ::madvise(data, static_cast<size_t>(bytes), MADV_HUGEPAGE);
    }
  }
  if (data == nullptr) {
    throw Error(ErrorCode::out_of_memory, fmt::format("cannot allocate {} bytes of memory", bytes));
  }
  return std::make_shared<HostStorage>(data, bytes);
}

Tensor::Tensor(std::shared_ptr<Storage> storage, int64_t offset, DType dtype, const Shape& shape)
    : storage_(std::move(storage)), offset_(offset), dtype_(dtype), shape_(shape) {
  SQUINT_CHECK(offset_ >= 0 && bytes() <= storage_->bytes() - offset_);
}

Tensor Tensor::on_host(DType dtype, const Shape& shape) {
  return Tensor(allocate_host(shape.numel() * byte_size(dtype)), 0, dtype, shape);
}

Tensor Tensor::rows(int64_t begin, int64_t count) const {
  SQUINT_CHECK(shape_.rank() >= 1 && begin >= 0 && count >= 0 && begin + count <= dim(0));
  std::array<int64_t, Shape::kMaxRank> dims{};
  std::ranges::copy(shape_.dims(), dims.begin());
  dims[0] = count;
  const int64_t row_bytes = dim(0) == 0 ? 0 : bytes() / dim(0);
  return Tensor(storage_, offset_ + begin * row_bytes, dtype_,
                Shape({dims.data(), static_cast<size_t>(shape_.rank())}));
}

Tensor Tensor::reshaped(const Shape& shape) const {
  SQUINT_CHECK(shape.numel() == numel());
  return Tensor(storage_, offset_, dtype_, shape);
}

void internal::check_host_span(const Tensor& tensor, DType expected) {
  SQUINT_CHECK(!tensor.empty() && tensor.dtype() == expected &&
               tensor.device().kind == DeviceKind::cpu);
}

Tensor to_f32(const Tensor& tensor) {
  Tensor out = Tensor::on_host(DType::f32, tensor.shape());
  to_f32(tensor, out.span<float>());
  return out;
}

void to_f32(const Tensor& tensor, std::span<float> to) {
  const int64_t count = tensor.numel();
  SQUINT_CHECK(static_cast<int64_t>(to.size()) == count);
  if (tensor.dtype() == DType::f32) {
    std::ranges::copy(tensor.span<const float>(), to.begin());
  } else if (tensor.dtype() == DType::bf16) {
    std::ranges::transform(tensor.span<const bf16>(), to.begin(),
                           [](bf16 x) { return to_float(x); });
  } else if (tensor.dtype() == DType::f16) {
    const auto* from = reinterpret_cast<const f16*>(tensor.raw());
    std::transform(from, from + count, to.begin(), [](f16 x) { return to_float(x); });
  } else {
    throw Error(ErrorCode::unsupported,
                fmt::format("cannot read {} values as floating point", name(tensor.dtype())));
  }
}

Tensor round_to_bf16(const Tensor& tensor) {
  if (tensor.dtype() == DType::bf16) return tensor;
  Tensor out = Tensor::on_host(DType::bf16, tensor.shape());
  std::ranges::transform(tensor.span<const float>(), out.span<bf16>().begin(),
                         [](float x) { return to_bf16(x); });
  return out;
}

}  // namespace squint
