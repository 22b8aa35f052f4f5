// tensor.h: a handle on typed, contiguous memory. Copying a Tensor shares its bytes.
//
// Storage is shared because one mapped shard backs hundreds of tensors. Every tensor is row-major
// and contiguous; rows() and reshaped() are the only views.
#pragma once

#include <cstddef>
#include <memory>
#include <span>

#include "core/dtype.h"
#include "core/shape.h"

namespace squint {

enum class DeviceKind : uint8_t { cpu, cuda };

struct Device {
  DeviceKind kind = DeviceKind::cpu;
  int index = 0;
  friend bool operator==(Device, Device) = default;
};

// Bytes with an owner: heap, a mapped file, device memory. Derived classes free them.
class Storage {
 public:
  Storage(void* data, int64_t bytes, Device device) : data_(data), bytes_(bytes), device_(device) {}
  virtual ~Storage() = default;
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;

  std::byte* data() const { return static_cast<std::byte*>(data_); }
  int64_t bytes() const { return bytes_; }
  Device device() const { return device_; }

 private:
  void* data_;
  int64_t bytes_;
  Device device_;
};

// 64-byte aligned, uninitialised host memory. Throws Error(out_of_memory).
std::shared_ptr<Storage> allocate_host(int64_t bytes);

class Tensor {
 public:
  Tensor() = default;  // empty(): no storage
  // offset + bytes must lie inside the storage.
  Tensor(std::shared_ptr<Storage> storage, int64_t offset, DType dtype, const Shape& shape);

  // Owned host memory, uninitialised.
  static Tensor on_host(DType dtype, const Shape& shape);
  template <class T>
  static Tensor copy_of(std::span<const T> values, const Shape& shape);

  bool empty() const { return storage_ == nullptr; }
  DType dtype() const { return dtype_; }
  const Shape& shape() const { return shape_; }
  Device device() const { return storage_->device(); }
  int64_t dim(int axis) const { return shape_[axis]; }
  int64_t numel() const { return shape_.numel(); }
  int64_t bytes() const { return numel() * byte_size(dtype_); }

  // Rows [begin, begin + count) along axis 0; shares storage.
  Tensor rows(int64_t begin, int64_t count) const;
  // The same elements under another shape; shares storage.
  Tensor reshaped(const Shape& shape) const;

  std::byte* raw() const { return storage_->data() + offset_; }
  // All elements. Throws InternalError unless the dtype is T's and the memory is the host's.
  template <class T>
  std::span<T> span() const;
  const std::shared_ptr<Storage>& storage() const { return storage_; }

 private:
  std::shared_ptr<Storage> storage_;
  int64_t offset_ = 0;
  DType dtype_ = DType::f32;
  Shape shape_;
};

namespace internal {
void check_host_span(const Tensor& tensor, DType expected);
template <class T>
constexpr DType dtype_of();
template <>
constexpr DType dtype_of<uint8_t>() {
  return DType::u8;
}
template <>
constexpr DType dtype_of<int8_t>() {
  return DType::i8;
}
template <>
constexpr DType dtype_of<int32_t>() {
  return DType::i32;
}
template <>
constexpr DType dtype_of<int64_t>() {
  return DType::i64;
}
template <>
constexpr DType dtype_of<bf16>() {
  return DType::bf16;
}
template <>
constexpr DType dtype_of<float>() {
  return DType::f32;
}
}  // namespace internal

template <class T>
std::span<T> Tensor::span() const {
  internal::check_host_span(*this, internal::dtype_of<std::remove_const_t<T>>());
  return {reinterpret_cast<T*>(raw()), static_cast<size_t>(numel())};
}

template <class T>
Tensor Tensor::copy_of(std::span<const T> values, const Shape& shape) {
  Tensor out = on_host(internal::dtype_of<T>(), shape);
  std::copy(values.begin(), values.end(), out.span<T>().begin());
  return out;
}

// Every element as float32 in new host memory; from f32, bf16 or f16. Error(unsupported) otherwise.
Tensor to_f32(const Tensor& tensor);
// The same into as many floats.
void to_f32(const Tensor& tensor, std::span<float> out);
// Every element of an f32 tensor rounded to bf16 in new host memory; a bf16 tensor is returned
// itself, sharing storage.
Tensor round_to_bf16(const Tensor& tensor);

}  // namespace squint
