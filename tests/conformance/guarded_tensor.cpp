#include "conformance/guarded_tensor.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace squint::test {
namespace {

constexpr int64_t kGuardBytes = 260;
constexpr std::byte kUntouched{0xff};

Tensor make_guarded(DType dtype, const Shape& shape) {
  const int64_t bytes = shape.numel() * byte_size(dtype);
  const std::shared_ptr<Storage> storage = allocate_host(bytes + 2 * kGuardBytes);
  std::memset(storage->data(), static_cast<int>(kUntouched), static_cast<size_t>(storage->bytes()));
  return Tensor(storage, kGuardBytes, dtype, shape);
}

}  // namespace

GuardedTensor::GuardedTensor(DType dtype, const Shape& shape)
    : tensor_(make_guarded(dtype, shape)) {}

::testing::AssertionResult GuardedTensor::guards_hold() const {
  const std::byte* data = tensor_.storage()->data();
  for (int64_t i = 0; i < tensor_.storage()->bytes(); ++i) {
    const bool guard = i < kGuardBytes || i >= kGuardBytes + tensor_.bytes();
    if (guard && data[i] != kUntouched) {
      return ::testing::AssertionFailure() << "byte " << i - kGuardBytes << " of a tensor of "
                                           << tensor_.bytes() << " bytes was written";
    }
  }
  return ::testing::AssertionSuccess();
}

::testing::AssertionResult near(const Tensor& found, const Tensor& expected,
                                const Tolerance& tolerance) {
  if (found.numel() != expected.numel()) {
    return ::testing::AssertionFailure()
           << found.numel() << " elements instead of " << expected.numel();
  }
  const std::span<const float> a = found.span<const float>();
  const std::span<const float> b = expected.span<const float>();
  float largest = 0;
  for (const float y : b) {
    if (std::isfinite(y)) largest = std::max(largest, std::abs(y));
  }
  const float always = tolerance.abs + tolerance.largest * largest;
  for (size_t i = 0; i < a.size(); ++i) {
    if (std::isnan(a[i]) && std::isnan(b[i])) continue;
    if (a[i] == b[i]) continue;  // infinities too
    if (std::abs(a[i] - b[i]) <= always + tolerance.rel * std::abs(b[i])) continue;
    return ::testing::AssertionFailure() << "element " << i << " is " << a[i] << ", not " << b[i]
                                         << "; they differ by " << std::abs(a[i] - b[i]);
  }
  return ::testing::AssertionSuccess();
}

::testing::AssertionResult same_bits(const Tensor& found, const Tensor& expected) {
  if (found.dtype() != expected.dtype() || found.numel() != expected.numel()) {
    return ::testing::AssertionFailure()
           << name(found.dtype()) << " of " << found.numel() << " elements instead of "
           << name(expected.dtype()) << " of " << expected.numel();
  }
  const std::byte* a = found.raw();
  const std::byte* b = expected.raw();
  const auto differs = std::mismatch(a, a + found.bytes(), b).first;
  if (differs == a + found.bytes()) return ::testing::AssertionSuccess();
  const int64_t element = (differs - a) / byte_size(found.dtype());
  ::testing::AssertionResult failure = ::testing::AssertionFailure();
  failure << "element " << element << " of " << found.shape().to_string() << " differs";
  if (found.dtype() == DType::f32) {
    failure << ": " << found.span<const float>()[static_cast<size_t>(element)] << " instead of "
            << expected.span<const float>()[static_cast<size_t>(element)];
  }
  return failure;
}

}  // namespace squint::test
